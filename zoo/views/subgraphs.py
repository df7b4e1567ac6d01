"""Parts of training graphs as drawings: what a unit of a model of graphs stands for."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.views.markup import escape

MOST = 80  # nodes of a drawing
STEPS = 60
SPACE = 30.0  # length of an edge
RADIUS = 10.0


def subgraphs(unit: Unit) -> str:
    """The parts in the source of a unit as drawings; empty if it has none."""
    drawn = "".join(_figure(part, unit.name) for part in unit.source.get("subgraphs", ()))
    return f"<div class='subgraphs'>{drawn}</div>" if drawn else ""


def _figure(part: Mapping[str, Any], unit: str) -> str:
    """A part of a graph: {"graph": name, "nodes": names, "edges": pairs of positions, "centre": position}."""
    names, edges = part["nodes"], part["edges"]
    count = f"{len(names)} node{'' if len(names) == 1 else 's'}"
    caption = f"<figcaption>from <bdi>{escape(str(part['graph']))}</bdi></figcaption>"
    if not names or len(names) > MOST:
        return f"<figure><p class='kind'>{count}</p>{caption}</figure>"
    place = (layout(len(names), edges) * SPACE).tolist()
    lines = "".join(
        f"<line x1='{place[a][0]:.1f}' y1='{place[a][1]:.1f}' x2='{place[b][0]:.1f}' y2='{place[b][1]:.1f}'/>"
        for a, b in edges
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


def layout(count: int, edges: Sequence[Sequence[int]]) -> Tensor:
    """Places (n, 2) of nodes whose distances are near to the numbers of edges between them.

    Gansner, Koren, North: "Graph Drawing by Stress Majorization", GD 2004, from the places of classical scaling.

    Args:
        count: n.
        edges: pairs of numbers of nodes.
    """
    distance = path_lengths(count, edges)
    centre = torch.eye(count, dtype=distance.dtype) - 1 / count
    values, vectors = torch.linalg.eigh(-0.5 * centre @ distance.square() @ centre)
    places = vectors[:, -2:].flip(1) * values[-2:].flip(0).clamp_min(0).sqrt()
    places = torch.cat([places, places.new_zeros(count, 2 - places.shape[1])], 1)
    angle = torch.arange(count, dtype=distance.dtype) * 2.4
    places = places + 0.1 * torch.stack([angle.cos(), angle.sin()], 1)  # nodes of equal distances are not in one place
    weight = torch.where(distance > 0, distance.clamp_min(1).pow(-2), 0.0)
    inverse = torch.linalg.pinv(torch.diag(weight.sum(1)) - weight)
    for _ in range(STEPS):
        ratio = weight * distance / torch.cdist(places, places).clamp_min(1e-6)
        places = inverse @ ((torch.diag(ratio.sum(1)) - ratio) @ places)
    return places


def path_lengths(count: int, edges: Sequence[Sequence[int]]) -> Tensor:
    """Numbers (n, n) of edges on the shortest paths; nodes that are not connected are 1 + the longest path apart."""
    beside: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        beside[a].append(b)
        beside[b].append(a)
    found = torch.full((count, count), -1.0, dtype=torch.float64)
    for start in range(count):
        found[start, start], rest = 0.0, deque([start])
        while rest:
            node = rest.popleft()
            for other in beside[node]:
                if found[start, other] < 0:
                    found[start, other] = found[start, node] + 1
                    rest.append(other)
    return torch.where(found < 0, found.max() + 1, found)
