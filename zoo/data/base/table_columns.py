"""Kinds and scaling of the columns of a user's table, and its cells as numbers."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.frames import Frame
from zoo.domain.columns import OTHER, PARTS, Column, Encoded, is_number, text_of
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need

if TYPE_CHECKING:
    import polars as pl

KINDS = ("number", "category", "date")  # of a column; a list of levels makes it an ordered category
LEVELS = 100  # of a category; rarer ones share one
KNOTS = 100  # of quantile scaling
EVERY = "*"  # in place of a column's name: all columns
DATE = r"^\d{4}-\d{2}-\d{2}([T ].*)?$"
DECIMAL_COMMA = r"^[-+]?\d+(\.\d{3})*,\d+$"
OTHER_DATE = r"^(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./]\d{1,2}[./]\d{1,2}|\d{1,2}:\d{2}(:\d{2})?)\b.*$"
OTHER_NUMBER = (
    r"^\p{Sc}?\s*[-+\x{2212}]?\s*\p{Sc}?\s*\d[\d\s.,'\x{2019}]*\s*[%\x{2030}\p{Sc}]?$"  # 12 %, $ 1,200, 1 200
)


@dataclass(frozen=True)
class Wishes:
    """What the user says about columns.

    Attributes:
        types: "number", "category" or "date", or the levels of an ordered category, lowest first, by column.
        missing: codes of missing values by column, or for all columns under "*".
        scaling: of numbers, "standard" or "quantile".
    """

    types: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    missing: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scaling: str = "standard"

    def __post_init__(self) -> None:
        for name, given in (("types", self.types), ("missing", self.missing)):
            if not isinstance(given, Mapping):
                raise ValueError(f"{name} must be a mapping from names of columns; got {given!r:.80}.")
        for column, codes in self.missing.items():
            if isinstance(codes, str) or not isinstance(codes, Sequence):
                raise ValueError(f"missing: '{column}' must be a list such as [{codes}]; got {codes!r:.80}.")

    def codes(self, column: str) -> tuple[str, ...]:
        """The codes of missing values of a column as texts."""
        return tuple(dict.fromkeys(text_of(c) for c in (*self.missing.get(column, ()), *self.missing.get(EVERY, ()))))

    def check(self, columns: Sequence[str]) -> None:
        """Refuses wishes about columns that are not there, or of another kind.

        Raises:
            ValueError: names the column.
        """
        for what, given in (("types", self.types), ("missing", self.missing)):
            for name in given:
                if name not in columns and (what, name) != ("missing", EVERY):
                    raise ValueError(f"{what} names the column '{name}'; {did_you_mean(name, columns)}")
        for name, kind in self.types.items():
            if isinstance(kind, str) and kind not in KINDS:
                raise ValueError(
                    f"types: '{name}' must be one of {', '.join(KINDS)}, or the list of its levels in order; got "
                    f"{kind!r}."
                )


def make_columns(frame: Frame, names: Sequence[str], train: "np.ndarray", wishes: Wishes) -> tuple[Column, ...]:
    """Describes the columns that are features.

    A column whose cells are all numbers is one of numbers; all ISO dates, one of dates, of which year, month, day and
    weekday become columns where they vary; otherwise a category. Columns that are constant or empty on the training
    rows are left out with a warning. Of more than `LEVELS` levels the rarer ones become one, "(other)".

    Args:
        frame: the table.
        names: of the columns.
        train: numbers of the training rows.
        wishes: of the user.

    Raises:
        ValueError: a column mixes numbers and texts, has numbers with decimal commas, or identifies rows; names the
            column, cells and their lines.
    """
    return tuple(column for name in names for column in _describe(frame, name, train, wishes))


def _describe(frame: Frame, name: str, train: "np.ndarray", wishes: Wishes) -> list[Column]:
    """The columns that a column of the file becomes: none, one, or the parts of dates."""
    text, codes = frame.column(name), wishes.codes(name)
    inside = text.gather(train)
    levels = inside.filter(~inside.is_in(["", *codes]))
    if not len(levels) or inside.n_unique() < 2:
        told = f"is {levels[0]!r} in every training row" if len(levels) else "has no values in the training rows"
        warnings.warn(f"column '{name}' {told}; it is left out.", stacklevel=2)
        return []
    missing = tuple(code for code in dict.fromkeys((*codes, "")) if _occurs(code, text))
    column = Column(name=name, missing=missing, absent=tuple(code for code in codes if code not in missing))
    if (kind := wishes.types.get(name)) is None:
        kind = _kind_of(frame, name, text, {*missing, ""})
    if kind == "category":
        return [replace(column, kind=kind, levels=_levels(name, levels, frame))]
    if kind == "date":
        parts = [replace(column, name=f"{name} ({part})", source=name, part=part) for part in PARTS]
        encoded = [encode(part, text, frame) for part in parts]
        varied = [i for i, (v, hot) in enumerate(encoded) if len(np.unique(v[train][hot[train] < 0])) > 1]
        return [_scaled(parts[i], encoded[i], train, wishes.scaling) for i in varied]
    if kind != "number":
        ordered = replace(column, kind="ordered", levels=tuple(map(str, kind)))
        return [_scaled(ordered, encode(ordered, text, frame), train, "standard")]
    return [_scaled(column, encode(column, text, frame), train, wishes.scaling)]


def encode(column: Column, text: "pl.Series", frame: Frame) -> tuple["np.ndarray", "np.ndarray"]:
    """All cells of a column as `Column.encode` gives them: values (N,) float64 and hot (N,) int16.

    Raises:
        ValueError: a cell does not fit; names file, line and column.
    """
    pl = need("polars", "table")
    values, hot = np.zeros(len(text)), np.full(len(text), -1, dtype=np.int16)
    rest = np.ones(len(text), dtype=bool)
    if column.kind == "number" and not column.part:
        numbers = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        codes = [float(c) for c in (*column.missing, *column.absent) if c and is_number(c)]
        rest = ~np.isfinite(numbers) | np.isin(numbers, codes) | (np.abs(numbers) > 3e38)
        values[~rest] = scaled(column, numbers[~rest])
    if rest.any():
        cells = text.filter(pl.Series(rest))
        unique = cells.unique(maintain_order=True).to_list()
        found = [_encoded(column, cell, text, frame) for cell in unique]
        number = cells.replace_strict(unique, list(range(len(unique))), return_dtype=pl.Int64).to_numpy()
        values[rest] = np.array([one.value for one in found])[number]
        hot[rest] = np.array([one.hot for one in found], dtype=np.int16)[number]
    return values, hot


def _encoded(column: Column, cell: str, text: "pl.Series", frame: Frame) -> Encoded:
    try:
        return column.encode(cell)
    except ValueError as error:
        where = frame.where(int((text == cell).arg_max() or 0))
        raise ValueError(f"{where}: '{column.source}' {str(error).removesuffix('.')}.") from None


def scaled(column: Column, numbers: "np.ndarray") -> "np.ndarray":
    """`Column.scaled` for many numbers."""
    if not column.knots:
        return (numbers - column.centre) / column.scale
    knots, scores = np.array(column.knots), np.array(column.scores)
    i = np.clip(np.searchsorted(knots, numbers, side="right"), 1, len(knots) - 1)
    share = (numbers - knots[i - 1]) / (knots[i] - knots[i - 1])
    return scores[i - 1] + share * (scores[i] - scores[i - 1])


def _occurs(code: str, text: "pl.Series") -> bool:
    """Whether a code of missing values is among the cells, as a text or as a number."""
    pl = need("polars", "table")
    equal = (text == code).any()
    return bool(equal or (is_number(code) and (text.cast(pl.Float64, strict=False) == float(code)).any()))


def _kind_of(frame: Frame, name: str, text: "pl.Series", missing: set[str]) -> str:
    """The kind of a column by its cells."""
    pl = need("polars", "table")
    cells = text.filter(~text.is_in(list(missing))).unique(maintain_order=True)
    number = cells.cast(pl.Float64, strict=False).is_finite().fill_null(False)
    if bool(number.all()):
        return "number"
    if bool(number.any()):
        odd = cells.filter(~number).head(3).to_list()
        places = ", ".join(f"{cell!r} ({frame.where(int((text == cell).arg_max() or 0))})" for cell in odd)
        raise ValueError(
            f"column '{name}' mixes numbers and texts, such as {places}. Correct them, declare them as missing "
            f"(missing: {{{name}: {odd}}}), or set types: {{{name}: category}}."
        )
    if bool(cells.str.contains(DECIMAL_COMMA).all()):
        raise ValueError(
            f"column '{name}' has numbers with decimal commas, such as {cells[0]!r}; write points, or set types: "
            f"{{{name}: category}}."
        )
    if bool(cells.str.contains(DATE).all()):
        return "date"
    for what, pattern, remedy in (
        ("dates or times", f"{DATE}|{OTHER_DATE}", "write dates as 2024-12-31 and times as numbers"),
        ("numbers with other signs", OTHER_NUMBER, "write plain numbers such as 1200.5"),
    ):
        if bool(cells.str.contains(pattern).all()):
            raise ValueError(
                f"column '{name}' has {what}, such as {cells[0]!r:.80}; {remedy}, or set types: {{{name}: category}}."
            )
    return "category"


def _levels(name: str, cells: "pl.Series", frame: Frame) -> tuple[str, ...]:
    """The levels of a category in alphabetical order, at most `LEVELS`."""
    counts = cells.alias("level").value_counts(sort=True)
    levels = counts["level"].to_list()
    if len(levels) <= LEVELS:
        return tuple(sorted(levels))
    if len(levels) > len(cells) / 2:
        raise ValueError(
            f"{frame.name}: column '{name}' has {len(levels):,} different texts, most of them once, so it identifies "
            f"rows; leave it out (leave_out: [{name}]), or make a category with repeated levels of it."
        )
    pairs = sorted(zip(levels, counts["count"].to_list(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    frequent = [level for level, _ in pairs[: LEVELS - 1]]
    kept = sum(count for _, count in pairs[: LEVELS - 1]) / len(cells)
    warnings.warn(
        f"column '{name}' has {len(levels):,} levels; the {LEVELS - 1} most frequent ({kept:.0%} of the rows) keep "
        f"their own, all others share {OTHER!r}.",
        stacklevel=2,
    )
    return (*sorted(level for level in frequent if level != OTHER), OTHER)


def _scaled(column: Column, encoded: tuple["np.ndarray", "np.ndarray"], train: "np.ndarray", scaling: str) -> Column:
    """A column of numbers with its scaling, by its training rows."""
    values, hot = encoded
    present = values[train][hot[train] < 0]
    if scaling == "quantile" and len(levels := np.unique(present)) > 2:
        knots, scores = _quantiles(present, levels)
        return replace(column, knots=tuple(knots.tolist()), scores=tuple(scores.tolist()))
    std = float(present.std())
    return replace(column, centre=float(present.mean()), scale=std if std > 1e-8 else 1.0)


def _quantiles(values: "np.ndarray", levels: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Values and the normal scores of their mean ranks; about `KNOTS`, with the smallest and the largest.

    Values that are as frequent as one in `KNOTS` have a knot each, and the rest are shared by the other values, so that
    rare values beside a frequent one remain apart.
    """
    ordered = np.sort(values)
    if len(levels) > KNOTS:
        counts = np.searchsorted(ordered, levels, side="right") - np.searchsorted(ordered, levels, side="left")
        kept = counts * KNOTS >= len(values)
        others = np.where(kept, 0, counts).cumsum()
        wanted = np.linspace(0, others[-1], KNOTS - int(kept.sum()))
        kept[np.searchsorted(others, wanted)] = True
        kept[[0, -1]] = True
        levels = levels[kept]
    low, high = np.searchsorted(ordered, levels, side="left"), np.searchsorted(ordered, levels, side="right")
    share: Tensor = torch.from_numpy((low + high) / 2 / len(ordered))
    return levels, torch.special.ndtri(share).numpy()
