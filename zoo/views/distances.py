"""Contributions of features by distance: of an explanation as a table, and of a model with the curves behind it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.distance_functions import DistanceFunctions
from zoo.views.markup import escape
from zoo.views.row import Row
from zoo.views.sums import decimals, signed

DETAIL = "by distance"  # detail (B, K, D): the contribution of each unit by distance
ROWS = 12  # units of an explanation that have a row of their own
FULLEST = 85  # per cent of colour in the cell of largest value
OUTPUTS = 6  # classes whose functions are drawn
WIDTH, HEIGHT, LEFT, BELOW, MARGIN = 230, 130, 44, 20, 12  # of a curve
FEW = 12  # points of a curve that are marked
LOOK = """
.zoo .distances td{text-align:right;font-variant-numeric:tabular-nums;padding:.2em .55em;line-height:1.3;
white-space:nowrap}
.zoo .distances thead th{text-align:right;font-weight:600;color:var(--soft)}
.zoo .distances tbody th{white-space:nowrap;font-weight:400}
.zoo .distances .total,.zoo .distances tfoot td,.zoo .distances tfoot th{font-weight:700}
.zoo .functions{display:flex;flex-wrap:wrap;gap:14px 22px;margin:12px 0}
.zoo .functions figure{flex:0 0 230px;margin:0}
.zoo .functions svg{display:block;width:100%}
.zoo .functions polyline{fill:none;stroke:var(--up);stroke-width:2}
.zoo .functions circle{fill:var(--up)}
.zoo .functions line{stroke:var(--line)}
.zoo .functions text{fill:var(--soft);font-size:10px}
"""


def by_distance(row: Row) -> str:
    """The contributions of one explanation by unit and distance; empty for other models."""
    one = row.explanation
    if DETAIL not in one.details:
        return ""
    values = one.details[DETAIL][0].double().cpu()  # (K, D)
    last = int(values.abs().amax(0).nonzero().max()) if bool(values.any()) else 0
    values = values[:, : last + 1]
    order = values.sum(1).abs().argsort(descending=True, stable=True).tolist()
    rows = [(one.units[k].name, values[k]) for k in order[:ROWS]]
    if rest := order[ROWS:]:
        rows.append((f"{len(rest)} other{'s' if len(rest) > 1 else ''}", values[rest].sum(0)))
    table = _table(rows, [str(d) for d in range(last + 1)], values.sum(0))
    return (
        f"<h3>By feature and distance</h3><p class='note'>Contributions to the score of "
        f"<bdi>{escape(one.target_names[0])}</bdi> by feature (rows) and by how many edges lie between the node that "
        f"has it and the node that is scored (columns). They add up to the score without its bias.</p>{table}"
    )


def model_by_distance(found: DistanceFunctions) -> str:
    """The functions of a model as curves, and their products, which are all terms of its score."""
    drawn = ""
    for c, output in enumerate(found.outputs[:OUTPUTS]):
        curves = "".join(
            _curve(f"f of {unit}", found.places[k], found.values[k][:, c].tolist())
            for k, unit in enumerate(found.units)
            if len(found.places[k]) > 2
        )
        distances = tuple(float(d) for d in range(len(found.profile)))
        curves += _curve("ρ of the distance", distances, found.profile[:, c].tolist())
        rows = [
            (unit if len(found.places[k]) == 1 else f"{unit}: {place:.4g}", found.values[k][v, c] * found.profile[:, c])
            for k, unit in enumerate(found.units)
            for v, place in _some(found.places[k])
        ]
        drawn += (
            f"<h3><bdi>{escape(output)}</bdi></h3><div class='functions'>{curves}</div>"
            f"{_table(rows, [f'{d:.0f}' for d in distances])}"
        )
    more = len(found.outputs) - OUTPUTS
    note = f"<p class='note'>{more} more classes are not drawn.</p>" if more > 0 else ""
    return (
        "<p class='note'>A cell is f(value) × ρ(distance): what a node with this value adds to the score of a node at "
        "this distance, divided by the number of nodes there. The score of a graph is the sum of these terms over all "
        f"pairs of its nodes and all features, and a bias; nothing else counts.</p>{drawn}{note}"
    )


def _some(places: Sequence[float]) -> list[tuple[int, float]]:
    """At most five of the values of a feature, with their positions."""
    chosen = range(len(places)) if len(places) <= 6 else [round(i * (len(places) - 1) / 4) for i in range(5)]
    return [(i, places[i]) for i in chosen]


def _table(rows: Sequence[tuple[str, Tensor]], columns: Sequence[str], total: Tensor | None = None) -> str:
    """A table of coloured numbers, with sums of rows and columns if there is a `total` (D,)."""
    every = torch.stack([values for _, values in rows])
    largest, digits = float(every.abs().max()) or 1.0, decimals(every.flatten().tolist())
    heads = "".join(f"<th scope='col'>{name}</th>" for name in [*columns, *(["sum"] if total is not None else [])])
    body = "".join(
        f"<tr><th scope='row'><bdi>{escape(name)}</bdi></th>"
        + "".join(_cell(value, largest, digits) for value in values.tolist())
        + (f"<td class='total'>{signed(float(values.sum()), digits)}</td>" if total is not None else "")
        + "</tr>"
        for name, values in rows
    )
    foot = ""
    if total is not None:
        sums = [*total.tolist(), float(total.sum())]
        cells = "".join(f"<td>{signed(value, digits)}</td>" for value in sums)
        foot = f"<tfoot><tr><th scope='row'>sum</th>{cells}</tr></tfoot>"
    return (
        f"<div style='overflow-x:auto'><table class='distances' style='max-width:none'><thead><tr><th scope='col'>"
        f"distance</th>{heads}</tr></thead><tbody>{body}</tbody>{foot}</table></div>"
    )


def _cell(value: float, largest: float, digits: int) -> str:
    side, strength = "up" if value >= 0 else "down", FULLEST * abs(value) / largest
    colour = f"color-mix(in srgb,var(--{side}) {strength:.0f}%,transparent)"
    ink = ";color:var(--paper)" if strength > FULLEST / 1.6 else ""
    return f"<td style='background:{colour}{ink}'>{signed(value, digits)}</td>"


def _curve(name: str, places: Sequence[float], values: Sequence[float]) -> str:
    """A small plot of a function, with the line of 0."""
    low, high = min(0.0, *values), max(0.0, *values)
    height, left, span = (high - low) or 1.0, min(places), (max(places) - min(places)) or 1.0

    def x(place: float) -> float:
        return LEFT + (WIDTH - LEFT - MARGIN) * (place - left) / span

    def y(value: float) -> float:
        return HEIGHT - BELOW - (HEIGHT - BELOW - MARGIN) * (value - low) / height

    points = [(x(place), y(value)) for place, value in zip(places, values, strict=True)]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    marks = "".join(f"<circle cx='{a:.1f}' cy='{b:.1f}' r='2.6'/>" for a, b in points) if len(points) <= FEW else ""
    marks += f"<line x1='{LEFT}' x2='{WIDTH - MARGIN}' y1='{y(0):.1f}' y2='{y(0):.1f}'/>"
    ends = ((high, "hanging"), (low, "auto")) if high > low else ((high, "auto"),)
    digits = decimals([low, high])
    texts = "".join(
        f"<text x='{LEFT - 5}' y='{y(value):.1f}' text-anchor='end' dominant-baseline='{base}'>"
        f"{signed(value, digits)}</text>"
        for value, base in ends
    )
    texts += "".join(
        f"<text x='{x(place):.1f}' y='{HEIGHT - 5}' text-anchor='{anchor}'>{place:.4g}</text>"
        for place, anchor in ((min(places), "start"), (max(places), "end"))
    )
    label = escape(name)
    drawn = f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{label}'>{marks}<polyline points='{line}'/>"
    return f"<figure>{drawn}{texts}</svg><figcaption><bdi>{label}</bdi></figcaption></figure>"
