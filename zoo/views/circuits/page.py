"""A circuit as a page: verdicts, graph, nodes with their contexts, attention, and the circuit itself, which runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.domain import CodeDomain
from zoo.utils.json_text import to_json
from zoo.views.circuits.attention_script import ATTENTION
from zoo.views.circuits.engine_script import ENGINE
from zoo.views.circuits.graph import LOOK as GRAPH
from zoo.views.circuits.graph import graph
from zoo.views.circuits.look import LOOK
from zoo.views.circuits.node_script import NODE
from zoo.views.circuits.packed import packed, plain_tokenizer
from zoo.views.circuits.prompt_script import PROMPT
from zoo.views.circuits.size_script import SIZE
from zoo.views.circuits.state_script import STATE
from zoo.views.circuits.tokenizer_script import TOKENIZER
from zoo.views.circuits.words import controls, experiments, summary
from zoo.views.document import document
from zoo.views.markup import escape

SCRIPTS = (ENGINE, TOKENIZER, STATE, PROMPT, ATTENTION, NODE, SIZE)


def circuit_page(circuit: Mapping[str, Any], domain: CodeDomain, story: Sequence[Mapping[str, Any]] = ()) -> str:
    """A self-contained page on which a reader can examine and run a circuit.

    Its script runs the circuit on any prompt, without nodes and edges that the reader ablates, and measures the loss on
    held-out prompts anew. Without a script, the page has the scores, the controls, the graph and a table of nodes.

    Args:
        circuit: of `zoo.circuits.analysis.description.describe`.
        domain: of the model.
        story: outcomes of experiments, of `zoo.circuits.analysis.story.Outcome.to_dict`.
    """
    report, title = circuit["report"], f"Circuit of {circuit['task']}"
    about = escape(report.get("description", ""))
    body = (
        f"<h1>{escape(title)}</h1><article><p class='title'>{about}</p>{summary(report)}{controls(report)}</article>"
        f"{experiments(story)}{_prompt()}{_graph(circuit)}{_attention()}{_tables(circuit)}"
        f"<script type='application/json' id='circuit-data'>{_data(circuit, domain)}</script>"
    )
    return document(title, body, GRAPH + LOOK, SCRIPTS)


def _data(circuit: Mapping[str, Any], domain: CodeDomain) -> str:
    """All data of the scripts as JSON, escaped for a script element."""
    names = ("nodes", "edges", "removed", "network", "texts", "prompts", "held_out", "contexts")
    found = {name: circuit[name] for name in names}
    found |= {"tokenizer": plain_tokenizer(domain), "length": domain.length}
    return to_json(packed(found)).replace("<", "\\u003c")


def _prompt() -> str:
    return (
        "<article id='prompt' class='live'><h3>Run it</h3>"
        "<p class='note'>The circuit runs on this page with its own weights; everything outside it is held at its "
        "mean. Choose a held-out prompt of the task, or type one.</p>"
        "<div class='ask'><label>Prompt <select name='prompt'></select></label>"
        "<label>Answers <select name='answers'></select></label></div>"
        "<label class='typed'>Your prompt<textarea rows='3' spellcheck='false' autocapitalize='off'></textarea></label>"
        "<p class='problem' role='alert'></p>"
        "<figure class='code'><pre></pre><figcaption class='count'></figcaption></figure>"
        "<div class='scroll' tabindex='0' role='region' aria-label='answers'>"
        "<table class='wide answers' aria-live='polite'></table></div></article>"
    )


def _graph(circuit: Mapping[str, Any]) -> str:
    held = circuit["held_out"]
    measured = "" if held is None else "<p class='loss' role='status'></p>"
    if held is not None and held["all"] > len(held["right"]):
        measured += f"<p class='note'>The page has {len(held['right'])} of {held['all']} held-out prompts.</p>"
    size = (
        "<div id='size' class='live'><div class='sliders'>"
        "<label>Edges of largest effect <input type='range' name='edges' min='0' step='1'><output></output></label>"
        "<label>Ablate nodes of effect <input type='range' name='least' min='0' step='1' value='0'><output></output>"
        "</label><button type='button'>Reset</button></div>"
        f"<p class='left note'></p>{measured}</div>"
    )
    return (
        "<article><h3>Graph</h3><p class='note'>Lines are weights (blue: positive, orange: negative; width: size), "
        "circles are nodes (line width: effect on the task loss). Dotted lines connect writes to a channel of the "
        "residual stream with later reads of it. Choose a node by a click, or with the arrow keys.</p>"
        f"{size}<div class='graph'>{graph(circuit['nodes'], circuit['edges'], live=True)}</div>"
        "<div id='node' class='live' tabindex='-1' role='region' aria-label='chosen node'></div></article>"
    )


def _attention() -> str:
    return (
        "<article id='attention' class='live'><h3>Attention</h3>"
        "<p class='note'>Heads with a node in the circuit, on the prompt above. Choose the token that attends.</p>"
        "<label>Head <select></select></label><p class='sink note'></p>"
        "<div class='scroll' tabindex='0' role='region' aria-label='tokens'><div class='arcs'>"
        "<svg aria-hidden='true'></svg><div class='keys'></div></div></div>"
        "<div class='sides'><section><h4>All queries and keys</h4><div class='grid'></div></section>"
        "<section><h4>Products of queries and keys</h4><p class='note'>For the strongest keys: q k / √D of each "
        "channel of the circuit; the other channels are constant.</p>"
        "<div class='scroll products' tabindex='0' role='region' aria-label='products'></div></section></div>"
        "<div class='gathers'><h4>What it gathers</h4><p class='note'>Attention times value, for each value channel "
        "of the circuit.</p><div class='chips'></div></div></article>"
    )


def _tables(circuit: Mapping[str, Any]) -> str:
    """Nodes and edges as tables, for readers without a script, and to copy."""
    nodes, edges, texts = circuit["nodes"], circuit["edges"], circuit["texts"]
    order = sorted(range(len(nodes)), key=lambda i: -nodes[i]["effect"])
    rows = "".join(
        f"<tr><th scope='row'>{escape(nodes[i]['node'])}</th><td>{nodes[i]['effect']:+.3f}</td>"
        f"<td class='tokens'>{_named(nodes[i], texts)}</td></tr>"
        for i in order
    )
    lines = "".join(
        f"<tr><th scope='row'>{escape(nodes[edge['from']]['node'])}</th>"
        f"<th>{escape(nodes[edge['to']]['node'])}</th><td>{edge['weight']:+.4f}</td><td>{edge['effect']:+.3f}</td></tr>"
        for edge in sorted(edges, key=lambda e: -e["effect"])
    )
    return (
        "<article><details><summary>All nodes as a table</summary>"
        "<div class='scroll' tabindex='0' role='region' aria-label='nodes'><table class='wide'>"
        "<tr><th>node</th><td>loss change if removed</td><td>tokens that write it, or logits that it moves</td></tr>"
        f"{rows}</table></div></details><details><summary>All edges as a table</summary>"
        "<div class='scroll' tabindex='0' role='region' aria-label='edges'><table class='wide'>"
        f"<tr><th>from</th><th>to</th><td>weight</td><td>loss change if removed</td></tr>{lines}</table></div>"
        "</details></article>"
    )


def _named(node: Mapping[str, Any], texts: list[str]) -> str:
    """The largest tokens of a channel and their values."""
    found = node.get("embeddings") or node.get("logits") or []
    return ", ".join(f"<code>{escape(repr(texts[int(token)]))}</code> {value:+.2f}" for token, value in found[:5])
