"""Where the values of an axis are drawn: numbers to scale, then a slot for each label."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from zoo.core.curves import Axis
from zoo.domain import Column

SLOT, MOST, GAP = 0.11, 0.45, 0.03  # shares of the width: of a label, at most of all labels, and before the first
FINE = 0.003  # share of the width below which a bin cannot be seen
TICKS = 4
NEAR = 0.05  # share of the width before the labels that has no ticks


@dataclass(frozen=True)
class Place:
    """Where a row is on an axis: a number, or else the text of a label."""

    number: float | None
    label: str


@dataclass(frozen=True)
class Scale:
    """Places as shares of a width in [0, 1].

    Attributes:
        axis: that is drawn.
        knots: (value, share) of numbers, increasing; linear between them.
        room: share of the width that numbers have.
        slot: share of the width that each label has.
    """

    axis: Axis
    knots: tuple[tuple[float, float], ...]
    room: float
    slot: float

    @property
    def low(self) -> float:
        """The smallest number drawn."""
        return self.knots[0][0]

    @property
    def high(self) -> float:
        """The largest number drawn."""
        return self.knots[-1][0]

    def at(self, value: float) -> float:
        """Share of the width of a number; numbers beyond the ends are drawn at the ends."""
        value = min(max(value, self.low), self.high)
        i = min(max(bisect_right([v for v, _ in self.knots], value), 1), len(self.knots) - 1)
        (a, left), (b, right) = self.knots[i - 1], self.knots[i]
        return left + (right - left) * (value - a) / (b - a)

    def where(self, place: Place) -> float | None:
        """Share of the width of a row; None if the axis has no such label."""
        if place.number is not None:
            return self.at(place.number) if self.axis.numbers else None
        if place.label not in self.axis.labels:
            return None
        left, right = self.spans()[self.axis.numbers + self.axis.labels.index(place.label)]
        return (left + right) / 2

    def spans(self) -> list[tuple[float, float]]:
        """Left and right end of each entry."""
        start = self.room + (GAP if self.axis.numbers and self.axis.labels else 0.0)
        labels = [(start + i * self.slot, start + (i + 1) * self.slot) for i in range(len(self.axis.labels))]
        if not self.axis.numbers:
            return labels
        inner = self.axis.places
        if self.axis.kind == "points":
            inner = tuple((a + b) / 2 for a, b in itertools.pairwise(inner))
        ends = [self.at(value) for value in (self.low, *inner, self.high)]
        return list(itertools.pairwise(ends)) + labels

    def ticks(self) -> list[tuple[float, str]]:
        """Share and text of a few numbers."""
        if not self.axis.numbers:
            return []
        if len(self.knots) > 2:  # bins of the same width
            chosen = [self.knots[round(i * (len(self.knots) - 1) / TICKS)] for i in range(1, TICKS)]
            return [(share, f"{value:.4g}") for value, share in chosen]
        least = (self.high - self.low) / (TICKS + 1)
        power = 10.0 ** math.floor(math.log10(least))
        apart = next(power * times for times in (1, 2, 5, 10) if power * times >= least * (1 - 1e-9))
        first, last = math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9)
        found = [(self.at(i * apart), f"{i * apart:.6g}") for i in range(first, last + 1)]
        crowded = self.room - NEAR if self.axis.labels else 1.0
        return [(share, text) for share, text in found if share <= crowded]


def scale_of(axis: Axis) -> Scale:
    """The scale of an axis; bins or points are evenly spaced if most could not be told apart otherwise."""
    labels = len(axis.labels)
    if not axis.numbers:
        return Scale(axis, (), 0.0, 1 / max(labels, 1))
    slot = min(SLOT, MOST / labels) if labels else 0.0
    room = 1.0 - labels * slot - (GAP if labels else 0.0)
    low, high = _ends(axis)
    linear = Scale(axis, ((low, 0.0), (high, room)), room, slot)
    narrow = sum(right - left < FINE for left, right in linear.spans()[: axis.numbers])
    if narrow <= axis.numbers / 2:
        return linear
    values = (low, *axis.places, high)
    return Scale(axis, tuple((v, room * i / (len(values) - 1)) for i, v in enumerate(values)), room, slot)


def place_of(column: Column, inputs: Sequence[float]) -> Place:
    """Where inputs (width,) of a column are on its axis; an ordered category is the number of its rank."""
    value = column.value(list(inputs))
    text = value if isinstance(value, str) else f"{value:.12g}"
    is_number = column.numeric and not any(x > 0.5 for x in inputs[1:])
    return Place(column.unscaled(inputs[0]) if is_number else None, text)


def _ends(axis: Axis) -> tuple[float, float]:
    """The numbers at both ends: the outer bins have no end, and are drawn as wide as bins are; points have margins."""
    places = axis.places
    gaps = [b - a for a, b in itertools.pairwise(places)]
    wide = median(gaps) if gaps else 1.0
    wide = wide / 2 if axis.kind == "points" else wide
    return (places[0] - wide, places[-1] + wide) if places else (-1.0, 1.0)
