"""One input of a page and its explanation, made ready to be shown."""

from dataclasses import dataclass

from torch import Tensor

from zoo.core.explanation import Explanation, Term
from zoo.views.sums import Sum


@dataclass(frozen=True, eq=False)
class Row:
    """One input and its explanation, made ready to be shown.

    Attributes:
        one: an explanation of one row.
        terms: the units to show, strongest first.
        total: the sum to show; None where the score is no sum.
        picture: (C, H, W) uint8 of the input, if it is one.
        uri: the same as a data URI.
        boxes: of each term, (top, left, bottom, right) in the picture; empty if units have no place in it.
        key: names this row within a page, and apart from other outputs of a notebook.
    """

    one: Explanation
    terms: list[Term]
    total: Sum | None
    picture: Tensor | None
    uri: str
    boxes: list[list[int]]
    key: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return (0, 0) if self.picture is None else (self.picture.shape[1], self.picture.shape[2])
