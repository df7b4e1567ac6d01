"""Explanations as figures for print, drawn by matplotlib (the extra `plot`)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.core.curves import Curve
from zoo.core.explanation import Explanation
from zoo.domain import TableDomain
from zoo.utils.optional import need
from zoo.utils.printable import printable
from zoo.views.additive.figure import draw_curve
from zoo.views.additive.shown import known
from zoo.views.additive.waterfall import shown_of
from zoo.views.cards import prepare
from zoo.views.naming import name_of
from zoo.views.row import Row
from zoo.views.sums import number, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UP, DOWN, LEVEL, BOX = "#1f6fb4", "#c2620a", "#8a8f98", "#ffd400"
CURVES, STRIP = 4, 1.5  # curves of a row, and their height in inches
ROWS = 10  # largest number of inputs in one figure
NAME = 44  # characters of a unit's name
MARKED = 3  # boxes in the input


def figure(explanation: Explanation, top: int = 8, curves: Sequence[Curve] = ()) -> "Figure":
    """A figure with one row for each input: the input, its evidence as signed bars, and the sum.

    Args:
        explanation: of at most ten inputs.
        top: number of units to show for each.
        curves: of a model whose units are functions of columns; those of the strongest units are drawn below the bars.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: more than ten inputs.
    """
    need("matplotlib", "plot")
    from matplotlib.figure import Figure

    if len(explanation) > ROWS:
        raise ValueError(f"a figure shows at most {ROWS} inputs; got {len(explanation)}. Slice it: explanation[:10].")
    curves = known(curves, explanation.domain) if isinstance(explanation.domain, TableDomain) else ()
    rows = [replace(prepare(one, i, top), curves=curves) for i, one in enumerate(explanation)]
    pictured = any(row.picture is not None for row in rows)
    heights = [max(0.34 * len(row.terms) + 1.3, 2.4 if pictured else 0) for row in rows]
    if curves:
        heights = [height for bars in heights for height in (bars, STRIP)]
    drawn = Figure(figsize=(9 if pictured else 7, sum(heights)), layout="constrained")
    widths = [1, 2.6] if pictured else [1]
    grid = drawn.add_gridspec(len(heights), len(widths), height_ratios=heights, width_ratios=widths)
    for i, row in enumerate(rows):
        if pictured:
            _input(drawn.add_subplot(grid[i, 0]), row)
        _bars(drawn.add_subplot(grid[2 * i if curves else i, -1]), row)
        if curves:
            strip = grid[2 * i + 1, :].subgridspec(1, CURVES)
            for place, curve in enumerate(_strongest(row)):
                draw_curve(drawn.add_subplot(strip[0, place]), shown_of(row, curve))
    return drawn


def _strongest(row: Row) -> list[Curve]:
    """The curves of the strongest units."""
    curves = {curve.unit: curve for curve in row.curves}
    return [curves[term.unit.name] for term in row.terms if term.unit.name in curves][:CURVES]


def _input(axes: "Axes", row: Row) -> None:
    """The picture with the boxes of the most important units."""
    axes.set_axis_off()
    if row.picture is None:
        return
    picture = row.picture.permute(1, 2, 0).cpu().numpy()
    axes.imshow(picture.squeeze(-1) if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255)
    for place, box in reversed(list(enumerate(row.boxes[:MARKED]))):
        if box is None:
            continue
        up, left, bottom, right = box
        corners = ([left, right, right, left, left], [up, up, bottom, bottom, up])
        axes.plot(*([v - 0.5 for v in side] for side in corners), color=BOX, linewidth=1.6)
        mark = {"facecolor": BOX, "edgecolor": "none", "pad": 1}
        axes.text(left, up, str(place + 1), fontsize=8, va="bottom", ha="left", weight="bold", bbox=mark)


def _bars(axes: "Axes", row: Row) -> None:
    """A bar for each unit, most important first, and the sum below for additive models."""
    terms, total = row.terms, row.total
    values = [max(term.activation, 0.0) for term in terms] if total is None else list(total.shown)
    names = [f"{i + 1}  {_short(name_of(term, row.explanation))}" for i, term in enumerate(terms)]
    if total is not None and total.others:
        values.append(total.rest)
        names.append(f"{total.others} other{'' if total.others == 1 else 's'}")
    colours = [LEVEL if total is None else UP if value >= 0 else DOWN for value in values]
    places = range(len(values))
    axes.barh(places, values, color=colours, height=0.62)
    axes.set_yticks(places, names, fontsize=9)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.18)
    digits = 3 if total is None else total.digits
    for place, value in zip(places, values, strict=True):
        side = "left" if value >= 0 else "right"
        text = number(value, digits) if total is None else signed(value, digits)
        shift = (4 if value >= 0 else -4, 0)
        axes.annotate(text, (value, place), shift, textcoords="offset points", ha=side, va="center", fontsize=8)
    one = row.explanation
    share = "" if one.probability is None else f"   {one.probability.item():.1%}"
    axes.set_title(f"{_short(one.target_names[0])}{share}", loc="left", fontsize=11, weight="bold")
    if total is None:
        axes.set_xlabel("activation (this model is not additive)", fontsize=9)
    else:
        what = one.space if one.reference == "zero" else _short(one.explained[0], 2 * NAME)
        below = f"bias {number(total.bias, digits)} + evidence = {what} {number(total.score, digits)}"
        axes.set_xlabel(below, fontsize=9)


def _short(name: str, most: int = NAME) -> str:
    """A truncated, printable name; dollar signs are escaped, so that matplotlib does not typeset a formula."""
    name = printable(name)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")
