"""The numbers of curves that pages show, for one class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.core.curves import Curve
from zoo.core.explanation import Explanation
from zoo.domain import Column, TableDomain
from zoo.views.additive.scale import Place


@dataclass(frozen=True, eq=False)
class Shown:
    """A curve of one class.

    Attributes:
        curve: of a unit.
        values: (n,) or (n, m), what is drawn.
        error: standard errors of the same shape, or None.
        columns: one for each axis.
        places: where a row is, one for each axis; () for none.
        shift: what was added to the values of the curve.
    """

    curve: Curve
    values: Tensor
    error: Tensor | None
    columns: tuple[Column, ...]
    places: tuple[Place, ...] = ()
    shift: float = 0.0

    @property
    def importance(self) -> float:
        """Mean over the training rows of |value|."""
        return float((self.curve.density.double() * self.values.double().abs()).sum())

    @property
    def is_list(self) -> bool:
        """Whether it is a list of levels rather than a curve over numbers."""
        return self.curve.axes[0].kind == "levels" or self.columns[0].kind == "ordered"


@dataclass(frozen=True)
class Level:
    """One line of a list of levels: its name, its entry of the curve, and the rank of an ordered category."""

    name: str
    entry: int
    rank: int | None = None


def known(curves: Sequence[Curve], domain: TableDomain) -> tuple[Curve, ...]:
    """The curves of columns that the table has; a model may have units that it does not use."""
    names = {column.name for column in domain.layout}
    return tuple(curve for curve in curves if all(axis.column in names for axis in curve.axes))


def contribution_of(curve: Curve, target: int) -> tuple[Tensor, Tensor | None]:
    """Values and errors of a class as they enter its score."""
    return curve.values[..., target].cpu(), None if curve.error is None else curve.error[..., target].cpu()


def relative_of(curve: Curve, one: Explanation) -> tuple[Tensor, Tensor | None]:
    """Values and errors of the target of one row as they enter its relative score.

    The error of a difference is known of two classes alone, whose values are opposite.
    """
    values, error = contribution_of(curve, int(one.target))
    rival = -1 if one.runner_up is None else int(one.runner_up)
    if one.reference == "zero":
        return values, error
    other = curve.values.mean(-1) if one.reference == "mean" else curve.values[..., rival]
    if error is None or curve.values.shape[-1] > 2:
        return values - other.cpu(), None
    return values - other.cpu(), error * (2 if one.reference == "runner-up" else 1)


def log_odds_of(curve: Curve, target: int) -> tuple[Tensor, Tensor | None]:
    """The same; of two classes the difference of their scores, which is the log-odds of the class."""
    values, error = contribution_of(curve, target)
    if curve.values.shape[-1] != 2:
        return values, error
    return values - curve.values[..., 1 - target].cpu(), None if error is None else 2 * error


def levels_of(shown: Shown) -> list[Level]:
    """The levels of a category, largest value first; those of an ordered category in their order."""
    axis, column = shown.curve.axes[0], shown.columns[0]
    labels = [Level(name, axis.numbers + i) for i, name in enumerate(axis.labels)]
    if column.kind == "ordered":
        places = torch.tensor(axis.places, dtype=torch.double)
        ranks = torch.arange(len(column.levels), dtype=torch.double)
        if axis.kind == "steps":
            entries = torch.bucketize(ranks, places, right=True).tolist()
        else:
            entries = (ranks[:, None] - places).abs().argmin(1).tolist()
        return [Level(name, entries[i], i) for i, name in enumerate(column.levels)] + labels
    own = shown.places[0].label if shown.places else ""
    occurred = [e for e in labels if e.name in (own, *column.levels) or float(shown.curve.density[e.entry]) > 0]
    return sorted(occurred, key=lambda level: -float(shown.values[level.entry]))
