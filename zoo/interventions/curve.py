"""Intervention curves: accuracy against the number of concept groups that were set."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SHARES = (0.0, 0.25, 0.5, 1.0)  # fractions of the groups at which reports give the accuracy


@dataclass(frozen=True)
class Curve:
    """Accuracy after 0, 1, ... G concept groups are set.

    Attributes:
        policy: its name.
        competence: of the annotator.
        accuracy: (orders, G + 1), a row for each order; one row unless the policy is stochastic.
        settings: constructor arguments of the policy.
    """

    policy: str
    competence: float
    accuracy: Tensor
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """Mean over the orders, (G + 1,)."""
        return self.accuracy.mean(0)

    @property
    def std(self) -> Tensor | None:
        """Standard deviation over the orders, (G + 1,); None for a single order."""
        return self.accuracy.std(0) if len(self.accuracy) > 1 else None

    @property
    def area(self) -> float:
        """Area under the curve with its x-axis scaled to [0, 1]."""
        return float(torch.trapezoid(self.mean) / (len(self.mean) - 1))

    def at(self, share: float) -> float:
        """Accuracy after a fraction in [0, 1] of the groups, linearly interpolated."""
        place = share * (len(self.mean) - 1)
        below = min(int(place), len(self.mean) - 2)
        return float(torch.lerp(self.mean[below], self.mean[below + 1], place - below))

    def to_dict(self) -> dict[str, Any]:
        """The curve as plain data."""
        return {
            "policy": self.policy,
            "competence": self.competence,
            **({"settings": self.settings} if self.settings else {}),
            "orders": len(self.accuracy),
            "accuracy": self.mean.tolist(),
            "std": None if self.std is None else self.std.tolist(),
            "area_under_curve": self.area,
            "accuracy_at": {f"{share:.0%}": self.at(share) for share in SHARES},
        }
