"""The units of an explanation by importance."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.core.evidence import Unit

if TYPE_CHECKING:
    from zoo.core.explanation import Explanation


@dataclass(frozen=True, slots=True)
class Term:
    """One unit in one explanation; `contribution` is None for models that are not additive."""

    unit: Unit
    index: int
    activation: float
    contribution: float | None


def strongest(explanation: "Explanation", n: int) -> list[list[Term]]:
    """See `Explanation.top`."""
    weight = explanation.importance
    order = weight.sort(dim=1, descending=True, stable=True).indices[:, :n].cpu()
    activation = explanation.activation.cpu().gather(1, order).tolist()
    contributions = explanation.contributions
    parts = None if contributions is None else contributions.cpu().gather(1, order).tolist()
    return [
        [
            Term(explanation.units[k], k, activation[i][j], None if parts is None else parts[i][j])
            for j, k in enumerate(row)
        ]
        for i, row in enumerate(order.tolist())
    ]
