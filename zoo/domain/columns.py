"""The columns of a raw table, and how each is encoded as numbers."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from zoo.utils.errors import did_you_mean
from zoo.utils.numbers import to_float

KINDS = ("number", "category", "ordered")
PARTS = ("year", "month", "day", "weekday", "hour")
NOT_A_NUMBER = "nan"  # what data frames write for a missing value; it counts as an empty cell
OTHER = "(other)"  # level of the categories that are too rare for a level of their own

Cell = float | str | None


@dataclass(frozen=True)
class Encoded:
    """One cell as a model reads it.

    Attributes:
        value: the scaled number; 0 for a category and for a missing value.
        hot: which of the inputs of the column is 1, counted from the column's first; -1 if none.
    """

    value: float
    hot: int = -1


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a raw table.

    A number is one input, the scaled value, and one indicator for each of its `missing` codes; where it is missing the
    value is 0. A category is one indicator for each of its levels and codes. An ordered category is the rank of its
    level from 0, scaled as a number is.

    Attributes:
        name: unique within a table.
        kind: "number", "category" or "ordered".
        source: name of the column in the file; by default `name`.
        part: of a date, what the number is: "year", "month", "day", "weekday" (1 is Monday) or "hour"; "" otherwise.
        levels: of a category, in order.
        missing: codes of missing values in the training data; "" stands for an empty cell.
        absent: codes of missing values that the training data did not have; they are refused.
        centre, scale: of numbers and ranks: input = (value - centre) / scale.
        knots: of numbers, in place of centre and scale: increasing values, between which the input is linear ...
        scores: ... and the input at each of them.

    Raises:
        ValueError: unknown kind or part, no levels, or scaling that does not fit.
    """

    name: str
    kind: str = "number"
    source: str = ""
    part: str = ""
    levels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("levels", "missing", "absent", "knots", "scores"):  # YAML and JSON have lists only
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "source", self.source or self.name)
        if self.kind not in KINDS or (self.part and (self.part not in PARTS or self.kind != "number")):
            raise ValueError(
                f"column '{self.name}' has kind {self.kind!r} and part {self.part!r}; kinds are {', '.join(KINDS)}, "
                f"parts of a number {', '.join(PARTS)}."
            )
        if (self.kind == "number") == bool(self.levels) or len(set(self.levels)) < len(self.levels):
            raise ValueError(
                f"column '{self.name}' of kind '{self.kind}' has levels {self.levels}; a category needs one or more "
                "different ones, a number none."
            )
        increasing = all(a < b for values in (self.knots, self.scores) for a, b in pairwise(values))
        if not self.scale > 0 or len(self.knots) != len(self.scores) or len(self.knots) == 1 or not increasing:
            raise ValueError(
                f"column '{self.name}' needs scale > 0, and as many scores as knots, both increasing; got scale "
                f"{self.scale}, {len(self.knots)} knots and {len(self.scores)} scores."
            )

    @staticmethod
    def from_dict(plain: "Mapping[str, Any] | Column") -> "Column":
        """Builds a column from plain data.

        Raises:
            ValueError: an unknown key.
        """
        if isinstance(plain, Column):
            return plain
        known = [f.name for f in fields(Column)]
        for key in plain:
            if key not in known:
                raise ValueError(f"a column has no key '{key}'; {did_you_mean(key, known)}")
        return Column(**plain)

    @property
    def numeric(self) -> bool:
        """Whether the first input is a number."""
        return self.kind != "category"

    @property
    def width(self) -> int:
        """Number of inputs."""
        return (1 if self.numeric else len(self.levels)) + len(self.missing)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        first = (self.name,) if self.numeric else tuple(f"{self.name} = {level}" for level in self.levels)
        return (*first, *(f"{self.name} is {label}" for label in self.missing_labels))

    @property
    def missing_labels(self) -> tuple[str, ...]:
        """How each missing code is shown."""
        return tuple(code or "missing" for code in self.missing)

    @cached_property
    def _hot(self) -> dict[str, int]:
        """Input of each level and code; of an ordered category the rank of each level."""
        start = 1 if self.numeric else len(self.levels)
        return {level: i for i, level in enumerate(self.levels)} | {c: start + i for i, c in enumerate(self.missing)}

    @cached_property
    def _codes(self) -> dict[float, int]:
        """Input of each missing code that is a number; -1 of those that are refused."""
        places = self._hot | dict.fromkeys(self.absent, -1)
        return {float(code): places[code] for code in (*self.missing, *self.absent) if is_number(code)}

    def encode(self, cell: Cell) -> Encoded:
        """Encodes one cell, a number or its text.

        A category that is not among the levels counts as `OTHER` if that is one of them; otherwise no input is 1.

        Raises:
            ValueError: the cell is empty and no cell of the training data was, or it is not such a number, level or
                date; the message begins with a verb, to be preceded by the name of the column.
        """
        text = text_of(cell)
        if text in self.missing:
            return Encoded(0.0, self._hot[text])
        if not text:
            raise ValueError("is empty, and was never empty in the training data; fill it in")
        if text in self.absent:
            raise self._absent(text)
        if self.kind == "category":
            return Encoded(0.0, self._hot.get(text, self._hot.get(OTHER, -1)))
        if self.kind == "ordered":
            if text not in self.levels:
                raise ValueError(f"is {text!r}, which is not one of its levels; {did_you_mean(text, self.levels)}")
            return Encoded(self.scaled(self._hot[text]))
        number = part_of(text, self.part) if self.part else to_float(text)
        if (hot := self._codes.get(number)) == -1:
            raise self._absent(text)
        return Encoded(self.scaled(number)) if hot is None else Encoded(0.0, hot)

    def _absent(self, code: str) -> ValueError:
        return ValueError(f"is {code!r}, a code of missing values that the training data did not have; fill it in")

    def scaled(self, value: float) -> float:
        """The input of a number."""
        return _interpolated(value, self.knots, self.scores) if self.knots else (value - self.centre) / self.scale

    def unscaled(self, x: float) -> float:
        """The number of an input, the inverse of `scaled`."""
        return _interpolated(x, self.scores, self.knots) if self.knots else x * self.scale + self.centre

    def is_known(self, cell: Cell) -> bool:
        """Whether a category occurred in the training data; True for other kinds."""
        return self.kind != "category" or text_of(cell) in self._hot

    def value(self, inputs: list[float]) -> float | str:
        """The value that inputs (width,) stand for: a number without the rounding error of an input, or a text."""
        labels = [*(() if self.numeric else self.levels), *self.missing_labels]
        indicators = inputs[1:] if self.numeric else inputs
        for label, x in zip(labels, indicators, strict=True):
            if x > 0.5:
                return label
        if self.kind == "category":
            return "(unknown)"
        number = self.unscaled(inputs[0])
        if self.kind == "ordered":
            return self.levels[min(max(round(number), 0), len(self.levels) - 1)]
        return without_rounding(number, (abs(number) + abs(number - self.unscaled(0.0))) * 2**-23)

    def show(self, inputs: list[float]) -> str:
        """The same as text."""
        value = self.value(inputs)
        return value if isinstance(value, str) else f"{value:.6g}"


def text_of(cell: Cell) -> str:
    """A cell as text without surrounding blanks; "" for None and NaN."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() == NOT_A_NUMBER else text


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def part_of(text: str, part: str) -> float:
    """A part of a date in ISO format.

    Raises:
        ValueError: it is not such a date.
    """
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be a date such as 2024-12-31 or 2024-12-31T13:05; got {text!r:.80}") from None
    return float(date.isoweekday() if part == "weekday" else getattr(date, part))


def without_rounding(value: float, error: float) -> float:
    """A number rounded to the decimals that it has if it may be wrong by `error`."""
    return value if error <= 0 else round(value, -math.ceil(math.log10(error))) + 0.0


def _interpolated(value: float, places: tuple[float, ...], heights: tuple[float, ...]) -> float:
    """The piecewise linear function through (places, heights); its first and last piece continue beyond the ends."""
    i = min(max(bisect_right(places, value), 1), len(places) - 1)
    share = (value - places[i - 1]) / (places[i] - places[i - 1])
    return heights[i - 1] + share * (heights[i] - heights[i - 1])
