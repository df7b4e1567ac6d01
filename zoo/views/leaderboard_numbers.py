"""Numbers of the leaderboard over training seeds, with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

from zoo.views.faithfulness import ARROWS, number

Row = Sequence[Mapping[str, Any]]  # the results of one model, one for each seed

# 97.5 % quantiles of Student's t distribution by number of seeds; 2.3 for more.
QUANTILES = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval, and its direction: 1 if higher is better, -1 if lower is."""

    value: float
    low: float
    high: float
    direction: int


def column(one: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any] | None:
    """A number with its interval over rows; None if it was not measured or is undefined."""
    found = one.get("metrics", {}).get(key, {}).get("values", {}).get(name)
    return None if found is None or found["value"] is None else found


def interval(row: Row, key: str, name: str) -> Interval | None:
    """The mean over seeds and its 95 % interval; None if no seed has a value.

    The interval adds the variance over seeds (Student's t) to that over rows (bootstrap; the same rows for all seeds).
    """
    found = [one for one in (column(each, key, name) for each in row) if one is not None]
    if not found:
        return None
    direction, values = found[0]["direction"], [one["value"] for one in found]
    if len(found) == 1:
        low, high = (values[0] if found[0][end] is None else found[0][end] for end in ("low", "high"))
        return Interval(values[0], low, high, direction)
    rows = mean((one["high"] or 0.0) - (one["low"] or 0.0) for one in found) / 2
    seeds = QUANTILES.get(len(values), 2.3) * stdev(values) / sqrt(len(values))
    half, centre = sqrt(rows**2 + seeds**2), mean(values)
    return Interval(centre, centre - half, centre + half, direction)


def worst(row: Row, key: str, name: str, lowest: bool) -> float | None:
    """The lowest or the highest value over seeds; None if it was not measured."""
    values = [one["value"] for one in (column(each, key, name) for each in row) if one is not None]
    return (min(values) if lowest else max(values)) if values else None


def cell(row: Row, key: str, name: str) -> str:
    """A number with its interval; "n/a" if the metric does not apply, "–" if it is undefined."""
    metric = row[0].get("metrics", {}).get(key)
    if metric is None:
        return ""
    if "not applicable" in metric:
        return "n/a"
    return text(interval(row, key, name))


def text(found: Interval | None) -> str:
    """A number with its interval; a dash if there is none."""
    if found is None:
        return "–"
    value, low, high = (number(v) for v in found[:3])
    return value if low == high else f"{value} ({low} to {high})"


def accuracy(row: Row) -> str:
    """Accuracy in per cent, over seeds."""
    values = [100 * one["accuracy"] for one in row]
    return f"{values[0]:.1f} %" if len(values) < 2 else f"{mean(values):.1f} ± {stdev(values):.1f} %"


def heading(rows: Iterable[Row], key: str, name: str, title: str) -> str:
    """The heading with an arrow for the better direction."""
    for row in rows:
        found = row[0].get("metrics", {}).get(key, {}).get("values", {}).get(name)
        if found is not None:
            return f"{title} {ARROWS[found['direction']]}".rstrip()
    return title


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table in Markdown whose first `texts` columns are aligned to the left."""
    rule = [*["---"] * texts, *["---:"] * (len(header) - texts)]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(part.replace('|', '/') for part in line)} |" for line in lines)
