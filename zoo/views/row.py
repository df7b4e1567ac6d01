"""One input of a page with the parts of its explanation that views show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from zoo.core.curves import Curve
from zoo.core.explanation import Explanation, Term
from zoo.views.sums import Sum


@dataclass(frozen=True, eq=False)
class Row:
    """One input with the parts of its explanation that views show.

    Attributes:
        explanation: of one row.
        terms: the units to show, most important first.
        total: the sum to show; None if the model is not additive.
        picture: (C, H, W) uint8, the input as a picture; None for other modalities.
        uri: the picture as a data URI.
        boxes: (top, left, bottom, right) in the picture for each term, None for one without a place; empty if units
            have no location in it.
        key: prefix of element ids, unique within a page and between outputs of a notebook.
        view: suffix of element ids, if the page shows the explanation relative to several references.
        curves: of the units of a model whose units are functions of columns; () for other models.
        own_curves: by name of the unit, of a model whose units contribute a function of their activation.
        truth: (C,) the true values of a forecast, if they are known.
    """

    explanation: Explanation
    terms: list[Term]
    total: Sum | None
    picture: Tensor | None
    uri: str
    boxes: list[list[int] | None]
    key: str
    view: str = ""
    curves: tuple[Curve, ...] = ()
    own_curves: Mapping[str, Curve] = field(default_factory=dict)
    truth: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return (0, 0) if self.picture is None else (self.picture.shape[1], self.picture.shape[2])

    def picture_of(self, term: Term) -> str:
        """Id of the picture of a unit that several views share; "" if there is one view."""
        return f"unit{self.key}-{term.index}" if self.view else ""
