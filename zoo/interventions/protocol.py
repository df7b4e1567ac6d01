"""How interventions are run, and the curves that come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.domain import Domain
from zoo.interventions.annotator import Annotator
from zoo.utils.errors import did_you_mean

SHARES = (0.0, 0.25, 0.5, 1.0)  # of the groups, at which reports give the accuracy


@dataclass(frozen=True)
class Protocol:
    """How interventions are run.

    Args:
        groups: names of the concept groups that may be asked for; all of them by default.
        individually: ask for single concepts instead; `groups` then names concepts.
        reduce: "mean" or "max": the score of a group, from those of its concepts.
        rescore: score again after every answer (True), once (False), or as each policy's authors do (None).
        orders: how many orders are averaged for a policy that depends on luck.
        competences: of the annotators, one set of curves for each, see `Annotator`.
        level: "instance" or "class", see `Annotator`.
        invisible: "label", "skip" or "absent", see `Annotator`.
        seed: of random orders and wrong answers.

    Raises:
        ValueError: a number out of range or an unknown choice.
    """

    groups: Sequence[str] = ()
    individually: bool = False
    reduce: str = "mean"
    rescore: bool | None = None
    orders: int = 5
    competences: Sequence[float] = (1.0,)
    level: str = "instance"
    invisible: str = "label"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.reduce not in ("mean", "max"):
            raise ValueError(f"reduce must be one of mean, max; got '{self.reduce}'.")
        if self.orders < 1 or not self.competences:
            raise ValueError(f"expected orders >= 1 and a competence; got {self.orders} and {self.competences}.")
        self.annotators()

    def annotators(self) -> list[Annotator]:
        """One for each competence."""
        return [Annotator(float(c), self.level, self.invisible, self.seed) for c in self.competences]

    def asked_for(self, domain: Domain) -> dict[str, list[int]]:
        """Columns of the concepts of each group that may be asked for.

        Raises:
            ValueError: there is no group of a name; the message has the nearest.
        """
        whole = domain.group_columns()
        known = {name: [i] for i, name in enumerate(domain.concepts)} if self.individually else whole
        for name in self.groups:
            if name not in known:
                raise ValueError(
                    f"no concept{'' if self.individually else ' group'} named '{name}'; {did_you_mean(name, known)}"
                )
        return {name: known[name] for name in self.groups} if self.groups else known


@dataclass(frozen=True)
class Curve:
    """Accuracy after 0, 1, ... G concept groups were answered.

    Attributes:
        policy: its name.
        competence: of the annotator.
        accuracy: (orders, G + 1), a row for each order; one row unless the policy depends on luck.
        settings: what the policy was made with.
    """

    policy: str
    competence: float
    accuracy: Tensor
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """(G + 1,): over the orders."""
        return self.accuracy.mean(0)

    @property
    def std(self) -> Tensor | None:
        """(G + 1,): over the orders; None if there is but one."""
        return self.accuracy.std(0) if len(self.accuracy) > 1 else None

    @property
    def area(self) -> float:
        """Area under the curve, its x-axis scaled to [0, 1]: the mean accuracy on the way."""
        return float(torch.trapezoid(self.mean) / (len(self.mean) - 1))

    def at(self, share: float) -> float:
        """Accuracy after a share in [0, 1] of the groups, interpolated between whole numbers of them."""
        place = share * (len(self.mean) - 1)
        below = min(int(place), len(self.mean) - 2)
        return float(torch.lerp(self.mean[below], self.mean[below + 1], place - below))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
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
