"""A unit of two columns as a heat map: blue above 0, orange below, pale where there are no training rows.

Cells that are not more than one standard error from 0 are hatched.
"""

from itertools import groupby, pairwise
from math import ceil, floor

import torch
from torch import Tensor

from zoo.views.additive.scale import Place, Scale, scale_of
from zoo.views.additive.shown import Shown
from zoo.views.markup import escape

WIDTH, LEFT, TOP, DOWN = 340, 92, 6, 150
LEVEL, SLANTED = 34, 62  # height below the map, with level and with slanted labels
ACROSS = WIDTH - LEFT - 8
SHADES = 12  # of each colour
HATCH = 5  # distance of the lines of hatched cells
LETTERS, FEW = 11, 14  # of a label, and labels that are written


def heat_map(shown: Shown, label: str) -> str:
    """A map whose first column runs upwards and whose second runs to the right.

    Args:
        shown: the values (n, m), and the places of a row if one is marked.
        label: alternative text; already escaped.
    """
    up, right = (scale_of(axis) for axis in shown.curve.axes)
    names = [column.name for column in shown.columns]
    ticks, slanted = _ticks(shown, up, right)
    content, middle = _cells(shown, up, right) + ticks + _mark(shown, up, right), TOP + DOWN / 2
    height = TOP + DOWN + (SLANTED if slanted else LEVEL)
    content += (
        f"<text class='axis' x='{LEFT + ACROSS / 2}' y='{height - 4}'>{escape(_short(names[1], 40))}</text>"
        f"<text class='axis' x='11' y='{middle}' transform='rotate(-90 11 {middle})'>{escape(_short(names[0], 26))}"
        "</text>"
    )
    return f"<svg class='map' viewBox='0 0 {WIDTH} {height}' role='img' aria-label='{label}'>{content}</svg>"


def shades_of(values: Tensor) -> Tensor:
    """Whole numbers in [-12, 12]: the shade of each value, 0 for less than half a shade."""
    return (values.double() / (float(values.abs().max()) or 1.0) * SHADES).round().long()


def _cells(shown: Shown, up: Scale, right: Scale) -> str:
    """A path for each shade; neighbouring cells of a row that have the same one are one rectangle."""
    shades, empty = shades_of(shown.values), shown.curve.density <= 0
    paths: dict[int, str] = {}
    pale, unsure = "", _unsure(shown)
    hatched = ""
    columns = right.spans()
    for i, (low, high) in enumerate(up.spans()):
        top, tall = TOP + DOWN * (1 - high), DOWN * (high - low)
        for shade, start, end in _runs(shades[i]):
            paths[shade] = paths.get(shade, "") + _box(columns[start][0], columns[end - 1][1], top, tall)
        pale += "".join(_box(columns[a][0], columns[b - 1][1], top, tall) for none, a, b in _runs(empty[i]) if none)
        hatched += "".join(_hatches(columns[a][0], columns[b - 1][1], top, tall) for on, a, b in _runs(unsure[i]) if on)
    drawn = "".join(
        f"<path class='{'up' if shade > 0 else 'down'}' fill-opacity='{abs(shade) / SHADES:.3g}' d='{path}'/>"
        for shade, path in sorted(paths.items())
        if shade
    )
    frame = f"<path class='ground' d='{paths.get(0, '')}'/>"
    lines = f"<path class='unsure' d='{hatched}'/>" if hatched else ""
    return f"{frame}{drawn}<path class='pale' d='{pale}'/>{lines}"


def _unsure(shown: Shown) -> Tensor:
    """(n, m) bool: cells with training rows whose value is at most one standard error."""
    if shown.error is None:
        return torch.zeros_like(shown.values, dtype=torch.bool)
    return (shown.values.abs() <= shown.error) & (shown.curve.density > 0).cpu()


def _hatches(left: float, right: float, top: float, tall: float) -> str:
    """Slanted lines of 45 degrees within a box, at the same places of the map in every box."""
    x, end, lines = LEFT + ACROSS * left, LEFT + ACROSS * right, ""
    for place in range(ceil((x - top - tall) / HATCH), floor((end - top) / HATCH) + 1):
        start, stop = max(x, place * HATCH + top), min(end, place * HATCH + top + tall)
        if stop > start:
            lines += f"M{start:.4g} {start - place * HATCH:.4g}l{stop - start:.3g} {stop - start:.3g}"
    return lines


def _runs(row: Tensor) -> list[tuple[int, int, int]]:
    """(value, start, end) of each run of equal values, of whole numbers or bools."""
    found, start = [], 0
    for value, run in groupby(row.tolist()):
        end = start + len(list(run))
        found.append((int(value), start, end))
        start = end
    return found


def _box(left: float, right: float, top: float, tall: float) -> str:
    wide = f"{ACROSS * (right - left):.4g}"
    return f"M{LEFT + ACROSS * left:.5g} {top:.5g}h{wide}v{tall:.4g}h-{wide}z"


def _ticks(shown: Shown, up: Scale, right: Scale) -> tuple[str, bool]:
    """The labels of both axes, and whether those below are slanted."""
    texts = ""
    for share, text in _names(up, shown, 0):
        texts += f"<text class='value' x='{LEFT - 4}' y='{TOP + DOWN * (1 - share) + 4:.5g}'>{escape(text)}</text>"
    names = _names(right, shown, 1)
    slanted = any((len(one) + len(two) + 2) * 3 > ACROSS * (b - a) for (a, one), (b, two) in pairwise(names))
    for share, text in names:
        beyond = not slanted and share + len(text) * 3 / ACROSS > 1  # it ends where the map does
        x, y = LEFT + ACROSS * (1 if beyond else share), TOP + DOWN + 13
        turn = f" transform='rotate(-35 {x:.5g} {y})'" if slanted else ""
        kind = "value" if slanted or beyond else "tick"
        texts += f"<text class='{kind}' x='{x:.5g}' y='{y}'{turn}>{escape(text)}</text>"
    return texts, slanted


def _names(scale: Scale, shown: Shown, side: int) -> list[tuple[float, str]]:
    """Ticks of numbers and names of labels, at most `FEW` of these."""
    column, spans = shown.columns[side], scale.spans()
    if column.kind == "ordered":
        ranks = range(0, len(column.levels), -(-len(column.levels) // FEW))
        found = [(scale.at(float(rank)), _short(column.levels[rank], LETTERS)) for rank in ranks]
    else:
        found = [(share, text.replace("-", "\u2212")) for share, text in scale.ticks()]
    labels = list(zip(scale.axis.labels, spans[scale.axis.numbers :], strict=True))
    apart = -(-len(labels) // FEW) or 1
    return found + [((low + high) / 2, _short(name, LETTERS)) for name, (low, high) in labels[::apart]]


def _mark(shown: Shown, up: Scale, right: Scale) -> str:
    """A frame around the cell of the row."""
    if not shown.places:
        return ""
    cells = [entry_of(scale, place) for scale, place in zip((up, right), shown.places, strict=True)]
    if cells[0] is None or cells[1] is None:
        return ""
    (low, high), (left, end) = up.spans()[cells[0]], right.spans()[cells[1]]
    wide, tall = max(ACROSS * (end - left), 5), max(DOWN * (high - low), 5)
    x, y = LEFT + ACROSS * (left + end) / 2 - wide / 2, TOP + DOWN * (1 - (low + high) / 2) - tall / 2
    box = f"x='{x:.5g}' y='{y:.5g}' width='{wide:.4g}' height='{tall:.4g}'"
    return f"<g class='here'><rect class='halo' {box}/><rect class='frame' {box}/></g>"


def entry_of(scale: Scale, place: Place) -> int | None:
    """The number of the entry of a row; of points the nearest; None if the axis has no such label."""
    axis = scale.axis
    if place.number is None:
        return axis.numbers + axis.labels.index(place.label) if place.label in axis.labels else None
    places = torch.tensor(axis.places, dtype=torch.double)
    if axis.kind == "points":
        return int((places - place.number).abs().argmin())
    return int(torch.bucketize(torch.tensor(place.number, dtype=torch.double), places, right=True))


def cell_value(values: Tensor, shown: Shown) -> float:
    """The number of a table (n, m) at the place of the row; 0 if an axis has no such label."""
    scales = map(scale_of, shown.curve.axes)
    cell = [entry_of(scale, place) for scale, place in zip(scales, shown.places, strict=True)]
    return 0.0 if None in cell else float(values[tuple(cell)])


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
