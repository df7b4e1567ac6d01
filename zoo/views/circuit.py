"""A circuit as a drawing, and as a page with what each of its nodes does on some prompts."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from zoo.views.style import STYLE

COLUMNS = (("attn_in",), ("attn_q", "attn_k", "attn_v"), ("attn_out",), ("mlp_in",), ("mlp_neuron",), ("mlp_out",))
TITLES = {
    "attn_in": "reads",
    "attn_q": "query, key, value",
    "attn_out": "writes",
    "mlp_in": "reads",
    "mlp_neuron": "neurons",
    "mlp_out": "writes",
}
LETTERS = {"attn_q": "q", "attn_k": "k", "attn_v": "v", "mlp_neuron": "n"}
READS, WRITES = ("attn_in", "mlp_in"), ("attn_out", "mlp_out")
STEP, GAP, RADIUS, TOP = 120, 34, 14, 64  # of columns and nodes, in pixels
SHOWN = 40  # nodes whose activations are told
LOOK = (
    ".zoo .graph{overflow-x:auto}.zoo .graph svg{display:block;min-width:640px;max-width:100%;height:auto}"
    ".zoo .graph text{fill:var(--ink);font-size:10px;text-anchor:middle;dominant-baseline:central}"
    ".zoo .graph .column{fill:var(--soft);font-size:11px}"
    ".zoo .graph circle{fill:var(--paper);stroke:var(--soft);stroke-width:1.4px}.zoo .graph .up{stroke:var(--up)}"
    ".zoo .graph .down{stroke:var(--down)}.zoo .graph .edge{fill:none;opacity:.75}.zoo .graph .stream{fill:none;"
    "stroke:var(--soft);stroke-width:1px;stroke-dasharray:2 4;opacity:.6}"
    ".zoo .tokens{font:13px/1.8 ui-monospace,monospace;white-space:pre-wrap}"
    ".zoo .tokens span{border-radius:3px;padding:1px 0}.zoo .wide{max-width:none}"
    ".zoo .wide td{white-space:normal;text-align:left}.zoo .wide td.number{text-align:right;white-space:nowrap}"
)


def graph(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> str:
    """An SVG: nodes in columns from the first read to the last write, weights as lines, the residual stream dotted.

    Args:
        nodes: each with "layer", "site", "index" and "effect".
        edges: each with "from" and "to" (positions among the nodes), "weight" and "effect".
    """
    columns = _columns(nodes)
    place = _places(nodes, edges, columns)
    height = TOP + GAP * max((len(members) for members in columns.values()), default=1) + 20
    width = STEP * max(len(columns), 1) + 20
    lines = [_stream(nodes, place), _edges(edges, place)]
    heads = "".join(
        f"<text class='column' x='{10 + STEP * (i + 0.5):.5g}' y='18'>layer {layer}</text>"
        f"<text class='column' x='{10 + STEP * (i + 0.5):.5g}' y='33'>{TITLES[COLUMNS[kind][0]]}</text>"
        for i, (layer, kind) in enumerate(columns)
    )
    largest = max((abs(n["effect"]) for n in nodes), default=0) or 1
    dots = "".join(
        f"<g><title>{escape(n['node'])}: without it the task loss rises by {n['effect']:.3f}</title>"
        f"<circle cx='{place[i][0]:.5g}' cy='{place[i][1]:.5g}' r='{RADIUS}' "
        f"style='stroke-width:{1.2 + 2.8 * max(n['effect'], 0) / largest:.3g}px'/>"
        f"<text x='{place[i][0]:.5g}' y='{place[i][1]:.5g}'>{LETTERS.get(n['site'], '')}{n['index']}</text></g>"
        for i, n in enumerate(nodes)
    )
    return (
        f"<svg role='img' aria-label='circuit of {len(nodes)} nodes and {len(edges)} edges' "
        f"xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}'>"
        f"{heads}{''.join(lines)}{dots}</svg>"
    )


def _columns(nodes: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], list[int]]:
    """Positions of the nodes by layer and kind of site, in the order of the computation."""
    kind = {site: k for k, sites in enumerate(COLUMNS) for site in sites}
    columns: dict[tuple[int, int], list[int]] = {}
    for i, n in enumerate(nodes):
        columns.setdefault((n["layer"], kind[n["site"]]), []).append(i)
    return dict(sorted(columns.items()))


def _places(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    columns: Mapping[tuple[int, int], Sequence[int]],
) -> dict[int, tuple[float, float]]:
    """Where each node is drawn: near the mean height of those before it that it is connected with."""
    before: dict[int, list[int]] = {}
    for edge in edges:
        before.setdefault(edge["to"], []).append(edge["from"])
    for i, j in _residual(nodes):
        before.setdefault(j, []).append(i)
    tallest = max((len(members) for members in columns.values()), default=1)
    place: dict[int, tuple[float, float]] = {}
    for column, members in enumerate(columns.values()):
        above = {
            i: sum(place[j][1] for j in before.get(i, []) if j in place)
            / max(sum(j in place for j in before.get(i, [])), 1)
            for i in members
        }
        order = sorted(members, key=lambda i: (above[i], nodes[i]["site"], nodes[i]["index"]))
        start = TOP + GAP * (tallest - len(members)) / 2
        for rank, i in enumerate(order):
            place[i] = (10 + STEP * (column + 0.5), start + GAP * rank)
    return place


def _residual(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """A write to a channel of the residual stream and every later read of it."""
    order = {site: k for k, sites in enumerate(COLUMNS) for site in sites}
    return [
        (i, j)
        for i, a in enumerate(nodes)
        if a["site"] in WRITES
        for j, b in enumerate(nodes)
        if b["site"] in READS
        and b["index"] == a["index"]
        and (b["layer"], order[b["site"]]) > (a["layer"], order[a["site"]])
    ]


def _stream(nodes: Sequence[Mapping[str, Any]], place: Mapping[int, tuple[float, float]]) -> str:
    return "".join(f"<path class='stream' d='{_curve(place[i], place[j])}'/>" for i, j in _residual(nodes))


def _edges(edges: Sequence[Mapping[str, Any]], place: Mapping[int, tuple[float, float]]) -> str:
    largest = max((abs(e["weight"]) for e in edges), default=0) or 1
    return "".join(
        f"<path class='edge {'up' if e['weight'] > 0 else 'down'}' d='{_curve(place[e['from']], place[e['to']])}' "
        f"style='stroke-width:{0.6 + 2.6 * abs(e['weight']) / largest:.3g}px'>"
        f"<title>weight {e['weight']:+.3f}; without it the task loss rises by {e['effect']:.3f}</title></path>"
        for e in edges
    )


def _curve(a: tuple[float, float], b: tuple[float, float]) -> str:
    bend = (b[0] - a[0]) / 2
    return f"M{a[0]:.5g} {a[1]:.5g}C{a[0] + bend:.5g} {a[1]:.5g} {b[0] - bend:.5g} {b[1]:.5g} {b[0]:.5g} {b[1]:.5g}"


def circuit_page(
    circuit: Mapping[str, Any], samples: Sequence[Sequence[str]], activations: Sequence[Sequence[Sequence[float]]]
) -> str:
    """A page: what the task is, the numbers beside their controls, the drawing, and each node on some prompts.

    Args:
        circuit: plain data, with "task", "report", "nodes" and "edges"; in the report perhaps "description" and
            "controls".
        samples: tokens of some prompts.
        activations: of each prompt, for each of its tokens, the value of each node.
    """
    report, title = circuit["report"], f"Circuit of {circuit['task']}"
    about = report.get("description", "")
    head = f"<h1>{escape(title)}</h1><article><p class='title'>{escape(about)}</p>{_numbers(report)}</article>"
    drawing = (
        "<article><h3>Graph</h3><p class='note'>A line is a weight (blue: positive, orange: negative; the "
        "thicker, the larger), a circle a coordinate of a site (the thicker, the more the task needs it). Dotted: the "
        "same channel of the residual stream, written and read later.</p>"
        f"<div class='graph'>{graph(circuit['nodes'], circuit['edges'])}</div></article>"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{LOOK}</style></head><body class='zoo'><main>"
        f"{head}{drawing}{_nodes(circuit['nodes'], samples, activations)}</main></body></html>"
    )


def _numbers(report: Mapping[str, Any]) -> str:
    rows = [
        ("whole network", report["whole"]),
        ("circuit alone (sufficient?)", report["circuit"]),
        ("all but the circuit (needed?)", report["without"]),
    ]
    for name, control in report.get("controls", {}).items():
        rows.append((f"control: {name.replace('_', ' ')}", control))
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{_told(numbers)}</td></tr>" for name, numbers in rows)
    size = (
        f"{report['nodes']} of {report['all_nodes']:,} nodes, {report['edges']} of {report['all_edges']:,} edges; "
        f"density {report['density']:.1%} of the {report['possible_edges']} weights that these nodes could have"
    )
    heading = f"{report['nodes']} nodes, {report['edges']} edges"
    return f"<h2>{heading}</h2><p class='note'>{size}</p><table class='wide'>{cells}</table>"


def _told(numbers: Mapping[str, Any]) -> str:
    told = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            told.append(f"{name.replace('_', ' ')}: {_told(value)}")
        elif isinstance(value, bool):
            told.append(f"{name}: {'yes' if value else 'no'}")
        elif isinstance(value, float):
            share = "accuracy" in name
            told.append(f"{name.replace('_', ' ')} {value:.1%}" if share else f"{name.replace('_', ' ')} {value:.3f}")
        else:
            told.append(f"{value} {name}")
    return ", ".join(told)


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
    note = f"the {SHOWN} that the task needs most" if len(nodes) > SHOWN else "the ones that the task needs most first"
    return (
        f"<article><h3>Nodes</h3><p class='note'>{note}; shaded by their values on each token (blue: positive, orange: "
        f"negative)</p><table class='wide'><tr><th>node</th><td class='number'>loss without it</td>"
        "<td>on these prompts</td>"
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
