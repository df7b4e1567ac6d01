"""A small curve for print, drawn by matplotlib."""

from typing import TYPE_CHECKING

from zoo.views.additive.chart import value_at
from zoo.views.additive.heat import entry_of
from zoo.views.additive.scale import scale_of
from zoo.views.additive.shown import Shown, levels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UP, DOWN, INK = "#1f6fb4", "#c2620a", "#222222"
LEVELS, LETTERS = 6, 12  # of a category, and of their names


def draw_curve(axes: "Axes", shown: Shown) -> None:
    """The curve of a unit with the row marked: lines of numbers, bars of levels, or a map of two columns."""
    axes.tick_params(labelsize=6, length=2)
    axes.set_title(shown.curve.unit.replace("$", r"\$")[:28], fontsize=7)
    if len(shown.curve.axes) == 2:
        _map(axes, shown)
    elif shown.is_list:
        _bars(axes, shown)
    else:
        _line(axes, shown)


def _line(axes: "Axes", shown: Shown) -> None:
    scale, numbers = scale_of(shown.curve.axes[0]), shown.curve.axes[0].numbers
    values = shown.values[:numbers].tolist()
    if scale.axis.kind == "points":
        axes.plot(scale.axis.places, values, color=UP, linewidth=1)
    else:
        axes.stairs(values, [scale.low, *scale.axis.places, scale.high], baseline=None, color=UP, linewidth=1)
    axes.axhline(0, color=INK, linewidth=0.4, linestyle=":")
    if shown.places and (place := shown.places[0].number) is not None:
        axes.plot([min(max(place, scale.low), scale.high)], [value_at(shown)], "o", color=INK, markersize=3)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: "Axes", shown: Shown) -> None:
    own = shown.places[0].label if shown.places else None
    levels = sorted(levels_of(shown), key=lambda e: (e.name != own, -float(shown.curve.density[e.entry])))[:LEVELS]
    values = [float(shown.values[level.entry]) for level in levels]
    axes.barh(range(len(levels)), values, color=[UP if value >= 0 else DOWN for value in values])
    names = [level.name.replace("$", r"\$")[:LETTERS] for level in levels]
    axes.set_yticks(range(len(levels)), [f"▸ {n}" if e.name == own else n for n, e in zip(names, levels, strict=True)])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _map(axes: "Axes", shown: Shown) -> None:
    """Entries as cells of one size."""
    most = float(shown.values.abs().max()) or 1.0
    axes.imshow(shown.values.numpy(), cmap="PuOr", vmin=-most, vmax=most, aspect="auto", origin="lower")
    scales = [scale_of(axis) for axis in shown.curve.axes]
    found = [entry_of(scale, place) for scale, place in zip(scales, shown.places, strict=False)]
    cells = [cell for cell in found if cell is not None]
    if len(cells) == 2:
        axes.plot([cells[1]], [cells[0]], "s", markerfacecolor="none", markeredgecolor=INK, markersize=5)
    axes.set_xticks([])
    axes.set_yticks([])
