"""A circuit as an SVG drawing."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.views.markup import escape

COLUMNS = (("attn_in",), ("attn_q", "attn_k", "attn_v"), ("attn_out",), ("mlp_in",), ("mlp_neuron",), ("mlp_out",))
TITLES = {
    "attn_in": "attention reads",
    "attn_q": "query, key, value",
    "attn_out": "attention writes",
    "mlp_in": "MLP reads",
    "mlp_neuron": "neurons",
    "mlp_out": "MLP writes",
}
LETTERS = {"attn_q": "q", "attn_k": "k", "attn_v": "v", "mlp_neuron": "n"}
READS, WRITES = ("attn_in", "mlp_in"), ("attn_out", "mlp_out")
STEP, GAP, RADIUS, TOP = 120, 34, 14, 64  # distances of columns and nodes, radius and margin, in pixels
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


def graph(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]], live: bool = False) -> str:
    """An SVG: nodes in columns in the order of the computation, weights as lines, the residual stream dotted.

    Args:
        nodes: each with "layer", "site", "index" and "effect".
        edges: each with "from" and "to" (positions among the nodes), "weight" and "effect".
        live: mark nodes and lines for the script of a page; the nodes are then buttons.
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
        f"<g{_button(i, n) if live else ''}><title>{escape(n['node'])}: removing "
        f"it changes the task loss by {n['effect']:+.3f}</title>"
        f"<circle cx='{place[i][0]:.5g}' cy='{place[i][1]:.5g}' r='{RADIUS}' "
        f"style='stroke-width:{1.2 + 2.8 * max(n['effect'], 0) / largest:.3g}px'/>"
        f"<text x='{place[i][0]:.5g}' y='{place[i][1]:.5g}'>{LETTERS.get(n['site'], '')}{n['index']}</text></g>"
        for i, n in enumerate(nodes)
    )
    role = "group" if live else "img"
    return (
        f"<svg role='{role}' aria-label='circuit of {len(nodes)} nodes and {len(edges)} edges' "
        f"xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}'>"
        f"{heads}{''.join(lines)}{dots}</svg>"
    )


def _button(i: int, node: Mapping[str, Any]) -> str:
    return f" data-node='{i}' role='button' tabindex='{0 if i == 0 else -1}' aria-label='{escape(node['node'])}'"


def _columns(nodes: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], list[int]]:
    """Indices of the nodes by layer and kind of site, in the order of the computation."""
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
    """Coordinates of each node, near the mean height of its predecessors."""
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
    """Pairs of a write to a channel of the residual stream and a later read of it."""
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
    return "".join(
        f"<path class='stream' data-stream='{i} {j}' d='{_curve(place[i], place[j])}'/>" for i, j in _residual(nodes)
    )


def _edges(edges: Sequence[Mapping[str, Any]], place: Mapping[int, tuple[float, float]]) -> str:
    largest = max((abs(e["weight"]) for e in edges), default=0) or 1
    return "".join(
        f"<path class='edge {'up' if e['weight'] > 0 else 'down'}' data-edge='{k}' "
        f"d='{_curve(place[e['from']], place[e['to']])}' "
        f"style='stroke-width:{0.6 + 2.6 * abs(e['weight']) / largest:.3g}px'>"
        f"<title>weight {e['weight']:+.3f}; removing it changes the task loss by {e['effect']:+.3f}</title></path>"
        for k, e in enumerate(edges)
    )


def _curve(a: tuple[float, float], b: tuple[float, float]) -> str:
    bend = (b[0] - a[0]) / 2
    return f"M{a[0]:.5g} {a[1]:.5g}C{a[0] + bend:.5g} {a[1]:.5g} {b[0] - bend:.5g} {b[1]:.5g} {b[0]:.5g} {b[1]:.5g}"
