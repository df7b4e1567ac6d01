"""The curves of additive models: what each value of a column, or of two columns, contributes to the score."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

KINDS = ("steps", "points", "levels")


@dataclass(frozen=True)
class Axis:
    """The values of one column at which a curve is given.

    The first entries of a curve are those of the numbers, in increasing order, followed by one for each label.

    Attributes:
        column: name of the column, as in `TableDomain.layout`; of a curve of a concept, the concept.
        kind: "steps": a constant between neighbouring edges; "points": a line between neighbouring points; "levels":
            only labels.
        places: raw values. Of steps, the m - 1 edges between m constants; a value equal to an edge is above it. Of
            points, m values.
        labels: levels of a category and missing codes, one entry each; "(unknown)" for levels that did not occur in
            the training data.
    """

    column: str
    kind: str
    places: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def numbers(self) -> int:
        """m, the entries that belong to numbers."""
        return 0 if self.kind == "levels" else len(self.places) + (self.kind == "steps")

    def __len__(self) -> int:
        return self.numbers + len(self.labels)


@dataclass(frozen=True, eq=False)
class Curve:
    """What a unit contributes to the scores, as a function of one column or of two.

    The model is exactly this function where the axes are steps and levels. Between points, lines approximate it.

    Attributes:
        unit: name of the unit, as in `SelfInterpretable.units`.
        axes: one for each column.
        values: (n, C) or (n, m, C), contributions to the score of each class; the mean over the training rows is 0,
            except for the points of a scoring system, which are 0 where a condition does not hold, and for curves of
            concepts, which are 0 at the activation 0.
        density: (n,) or (n, m), share of the training rows in each entry.
        error: standard errors, of the shape of `values`; None if they are not known.
    """

    unit: str
    axes: tuple[Axis, ...]
    values: Tensor
    density: Tensor
    error: Tensor | None = None

    @property
    def importance(self) -> Tensor:
        """(C,) mean over the training rows of |contribution|."""
        return (self.density[..., None] * self.values.abs()).flatten(0, -2).sum(0)


@runtime_checkable
class HasCurves(Protocol):
    """A model whose units are functions of one or two columns."""

    def curves(self) -> tuple[Curve, ...]:
        """The curve of each unit, in the order of the units."""
        ...
