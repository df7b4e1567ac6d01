"""The levels of a category as bars: value, standard error and share of the training rows of each."""

from zoo.views.additive.chart import limits_of
from zoo.views.additive.shown import Level, Shown, levels_of
from zoo.views.markup import escape
from zoo.views.sums import decimals, signed

WIDTH, LINE, NAME, VALUE, SHARE = 340, 20, 116, 44, 44  # of all, a line, a name, a value, and a share
LETTERS = 18  # of a name
ACROSS = WIDTH - NAME - VALUE - SHARE


def bar_chart(shown: Shown, label: str, most: int | None = None) -> str:
    """One line for each level.

    Args:
        shown: the curve, and the place of a row if one is marked.
        label: alternative text; already escaped.
        most: largest number of levels; those of most training rows and that of the row stay.
    """
    levels = levels_of(shown)
    own = shown.places[0].label if shown.places else None
    if most is not None and len(levels) > most:
        density = shown.curve.density
        first = sorted(levels, key=lambda level: (level.name != own, -float(density[level.entry])))[:most]
        left, levels = len(levels) - most, [level for level in levels if level in first]
    else:
        left = 0
    low, high = limits_of(shown)
    digits = min(decimals([high - low]), 3)
    lines = "".join(_line(shown, level, i, low, high, digits, level.name == own) for i, level in enumerate(levels))
    zero, below = _x(0, low, high), len(levels) * LINE
    more = (
        f"<text class='more' x='0' y='{below + 14}'>and {left} more level{'' if left == 1 else 's'}</text>"
        if left
        else ""
    )
    return (
        f"<svg class='levels' viewBox='0 0 {WIDTH} {below + (LINE if left else 2)}' role='img' aria-label='{label}' "
        f"data-low='{low:.9g}' data-high='{high:.9g}'>{lines}"
        f"<line class='zero' x1='{zero:.5g}' x2='{zero:.5g}' y1='0' y2='{below}'/>{more}</svg>"
    )


def _line(shown: Shown, level: Level, place: int, low: float, high: float, digits: int, own: bool) -> str:
    value, top = float(shown.values[level.entry]), place * LINE
    start, end = sorted((_x(0, low, high), _x(value, low, high)))
    whisker = ""
    if shown.error is not None:
        error = float(shown.error[level.entry])
        ends = [min(max(_x(value + s * error, low, high), NAME), NAME + ACROSS) for s in (-1, 1)]
        whisker = f"<line class='whisker' x1='{ends[0]:.5g}' x2='{ends[1]:.5g}' y1='{top + 9}' y2='{top + 9}'/>"
    name = level.name if len(level.name) <= LETTERS else f"{level.name[: LETTERS - 1]}…"
    share = float(shown.curve.density[level.entry])
    percent = f"{share:.1%}" if share >= 5e-4 or share == 0 else "<0.1%"
    return (
        f"<g class='level{' own' if own else ''}' data-entry='{level.entry}' data-name='{escape(level.name)}'>"
        f"<rect class='back' x='0' y='{top}' width='{WIDTH}' height='{LINE - 2}' rx='4'/>"
        f"<text class='name' x='4' y='{top + 13}'>{escape(name)}<title>{escape(level.name)}</title></text>"
        f"<rect class='{'down' if value < 0 else 'up'}' x='{start:.5g}' y='{top + 4}' width='{end - start:.5g}' "
        f"height='{LINE - 10}'/>{whisker}<text class='value' x='{NAME + ACROSS + VALUE}' y='{top + 13}'>"
        f"{signed(value, digits)}</text><text class='rate' x='{WIDTH - 3}' y='{top + 13}'>{escape(percent)}</text></g>"
    )


def _x(value: float, low: float, high: float) -> float:
    return NAME + ACROSS * (value - low) / (high - low)
