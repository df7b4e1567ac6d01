"""Risk scores as cards: a table of points, and the risk of each total."""

import math
from collections.abc import Sequence

ACROSS = 10  # totals in one row of the table


def totals(points: Sequence[int]) -> list[int]:
    """The sums of all subsets of the points, in increasing order."""
    sums = {0}
    for value in points:
        sums |= {total + value for total in sums}
    return sorted(sums)


def risk(total: float, offset: float, multiplier: float) -> float:
    """Probability of the second class at a total."""
    z = (total - offset) / multiplier
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0


def card_text(title: str, lines: Sequence[tuple[str, int]], offset: float, multiplier: float) -> str:
    """The card as text.

    Args:
        title: what the risk is of.
        lines: condition and points of each line.
        offset: see `risk`.
        multiplier: see `risk`.
    """
    width = max((len(name) for name, _ in lines), default=0)
    rows = [f"{i + 1:>2}. {name:<{width}}  {value:+3d}" for i, (name, value) in enumerate(lines)]
    sums = totals([value for _, value in lines])
    table = []
    for start in range(0, len(sums), ACROSS):
        part = sums[start : start + ACROSS]
        table.append("total " + "".join(f"{total:>7d}" for total in part))
        table.append("risk  " + "".join(f"{risk(total, offset, multiplier):>7.1%}" for total in part))
    return "\n".join([title, *rows, "", *table])
