"""A circuit as a page: metrics, drawing, and the activations of its nodes on example prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.views.circuit import LOOK, graph
from zoo.views.document import document
from zoo.views.markup import escape

SHOWN = 40  # nodes whose activations are listed


def circuit_page(
    circuit: Mapping[str, Any], samples: Sequence[Sequence[str]], activations: Sequence[Sequence[Sequence[float]]]
) -> str:
    """A page with the task, the metrics and their controls, the drawing, and the nodes on example prompts.

    Args:
        circuit: plain data with "task", "report", "nodes" and "edges"; the report may have "description" and
            "controls".
        samples: tokens of example prompts.
        activations: for each prompt and each of its tokens, the value of each node.
    """
    report, title = circuit["report"], f"Circuit of {circuit['task']}"
    about = report.get("description", "")
    head = f"<h1>{escape(title)}</h1><article><p class='title'>{escape(about)}</p>{_numbers(report)}</article>"
    drawing = (
        "<article><h3>Graph</h3><p class='note'>Lines are weights (blue: positive, orange: negative; width: size), "
        "circles are nodes (line width: effect on the task loss). Dotted lines connect writes to a channel of the "
        "residual stream with later reads of it.</p>"
        f"<div class='graph'>{graph(circuit['nodes'], circuit['edges'])}</div></article>"
    )
    nodes = _nodes(circuit["nodes"], samples, activations)
    return document(title, f"{head}{drawing}{nodes}", LOOK)


def _numbers(report: Mapping[str, Any]) -> str:
    rows = [
        ("full network", report["whole"]),
        ("circuit only (sufficiency)", report["circuit"]),
        ("network without the circuit (necessity)", report["without"]),
    ]
    for name, control in report.get("controls", {}).items():
        rows.append((f"control: {name.replace('_', ' ')}", control))
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{_numbers_text(numbers)}</td></tr>" for name, numbers in rows)
    size = (
        f"{report['nodes']} of {report['all_nodes']:,} nodes, {report['edges']} of {report['all_edges']:,} edges; "
        f"density {report['density']:.1%} of the {report['possible_edges']} possible weights between these nodes"
    )
    heading = f"{report['nodes']} nodes, {report['edges']} edges"
    return f"<h2>{heading}</h2><p class='note'>{size}</p><table class='wide'>{cells}</table>"


def _numbers_text(numbers: Mapping[str, Any]) -> str:
    texts = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            texts.append(f"{name.replace('_', ' ')}: {_numbers_text(value)}")
        elif isinstance(value, str):
            texts.append(f"{name}: {value}")
        elif isinstance(value, bool):
            texts.append(f"{name}: {'yes' if value else 'no'}")
        elif isinstance(value, float):
            share = "accuracy" in name
            texts.append(f"{name.replace('_', ' ')} {value:.1%}" if share else f"{name.replace('_', ' ')} {value:.3f}")
        else:
            texts.append(f"{value} {name}")
    return ", ".join(texts)


def _nodes(
    nodes: Sequence[Mapping[str, Any]],
    samples: Sequence[Sequence[str]],
    activations: Sequence[Sequence[Sequence[float]]],
) -> str:
    order = sorted(range(len(nodes)), key=lambda i: -nodes[i]["effect"])[:SHOWN]
    rows = []
    for i in order:
        values = [[token[i] for token in sample] for sample in activations]
        largest = max((abs(v) for sample in values for v in sample), default=0) or 1
        lines = "<br>".join(_tokens(words, sample, largest) for words, sample in zip(samples, values, strict=True))
        rows.append(
            f"<tr><th>{escape(nodes[i]['node'])}</th><td class='number'>{nodes[i]['effect']:+.3f}</td>"
            f"<td class='tokens'>{lines}</td></tr>"
        )
    note = f"the {SHOWN} nodes of largest effect" if len(nodes) > SHOWN else "sorted by effect"
    return (
        f"<article><h3>Nodes</h3><p class='note'>{note}; tokens are shaded by activation (blue: positive, orange: "
        f"negative)</p><table class='wide'><tr><th>node</th><td class='number'>loss change if removed</td>"
        "<td>activation on example prompts</td>"
        f"</tr>{''.join(rows)}</table></article>"
    )


def _tokens(words: Sequence[str], values: Sequence[float], largest: float) -> str:
    return "".join(
        f"<span style='background:color-mix(in srgb,var(--{'up' if value > 0 else 'down'}) "
        f"{70 * abs(value) / largest:.0f}%,transparent)' title='{value:.3g}'>{escape(_visible(word))}</span>"
        for word, value in zip(words, values, strict=False)
    )


def _visible(word: str) -> str:
    return word.replace("\n", "⏎")
