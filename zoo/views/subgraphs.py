"""Parts of training graphs as drawings: what a unit of a model of graphs stands for."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.core.evidence import Unit
from zoo.views.graph_layout import layout
from zoo.views.markup import escape

MOST = 80  # nodes of a drawing
SPACE = 30.0  # length of an edge
RADIUS = 10.0


def subgraphs(unit: Unit) -> str:
    """The parts in the source of a unit as drawings; empty if it has none."""
    drawn = "".join(_figure(part, unit.name) for part in unit.source.get("subgraphs", ()))
    return f"<div class='subgraphs'>{drawn}</div>" if drawn else ""


def _figure(part: Mapping[str, Any], unit: str) -> str:
    """A part of a graph: {"graph": name, "nodes": names, "edges": pairs of positions, "centre": position}.

    In place of "graph" a "caption"; "weights" in [0, 1] of the edges, if they are not equal.
    """
    names, edges = part["nodes"], part["edges"]
    count = f"{len(names)} node{'' if len(names) == 1 else 's'}"
    said = f"from <bdi>{escape(str(part['graph']))}</bdi>" if "graph" in part else escape(str(part["caption"]))
    caption = f"<figcaption>{said}</figcaption>"
    if not names or len(names) > MOST:
        return f"<figure><p class='kind'>{count}</p>{caption}</figure>"
    place = _places(len(names), edges)
    weights = part.get("weights") or [1.0] * len(edges)
    lines = "".join(
        f"<line x1='{place[a][0]:.1f}' y1='{place[a][1]:.1f}' x2='{place[b][0]:.1f}' y2='{place[b][1]:.1f}'"
        f"{_thickness(weight)}/>"
        for (a, b), weight in zip(edges, weights, strict=True)
    )
    kinds = [" class='centre'" if i == part.get("centre") else "" for i in range(len(names))]
    dots = "".join(
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{RADIUS:g}'{kind}/>"
        f"<text x='{x:.1f}' y='{y:.1f}'>{escape(str(name))}</text>"
        for name, kind, (x, y) in zip(names, kinds, place, strict=True)
    )
    left, top = (min(p[axis] for p in place) - 2 * RADIUS for axis in (0, 1))
    width, height = (max(p[axis] for p in place) - low + 2 * RADIUS for axis, low in ((0, left), (1, top)))
    wide = max(width, 8 * RADIUS)  # small graphs are not enlarged without bound
    box = f"{left - (wide - width) / 2:.1f} {top:.1f} {wide:.1f} {height:.1f}"
    label = escape(f"subgraph of {unit}: {count}, {len(edges)} edge{'' if len(edges) == 1 else 's'}")
    return f"<figure><svg viewBox='{box}' role='img' aria-label='{label}'>{lines}{dots}</svg>{caption}</figure>"


def _thickness(weight: float) -> str:
    return "" if weight >= 1 else f" style='opacity:{0.15 + 0.85 * weight:.2f};stroke-width:{0.6 + 3 * weight:.2f}px'"


def _places(count: int, edges: Sequence[Sequence[int]]) -> list[list[float]]:
    """Places of nodes, with edges of about the same length in all drawings."""
    places = layout(count, [(a, b) for a, b in edges])
    lengths = [float(((places[a] - places[b]) ** 2).sum() ** 0.5) for a, b in edges]
    return (places * (SPACE * len(lengths) / max(sum(lengths), 1e-9) if lengths else 2 * SPACE)).tolist()
