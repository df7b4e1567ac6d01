"""What a policy knows at the moment when it chooses what to ask for next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.interventions.effects import Affine, ByReadout, intervened
from zoo.interventions.outcome_distributions import Direct, Factored


@dataclass(frozen=True, eq=False)
class Situation:
    """What a policy knows when it chooses what to ask for next, of a chunk of B rows.

    Attributes:
        model: being intervened on.
        head: its what-ifs.
        probability: (B, k) of each concept, as predicted.
        truth: (B, k) in {0, 1, NaN}, for oracles only.
        target: (B,) true classes, for oracles only.
        answers: (B, k) in {0, 1, NaN}, what was or would be answered; only those of `asked` groups are known.
        gains, true_gains: what the head makes of the answers and of the truth.
        asked: (B, G) in {0, 1}.
        noise: (B, G) in [0, 1), luck.
        names: of the G groups.
        columns: of the G groups among all groups of the domain.
    """

    model: Any
    head: Affine | ByReadout
    probability: Tensor
    truth: Tensor
    target: Tensor
    answers: Tensor
    gains: Tensor
    true_gains: Tensor
    asked: Tensor
    noise: Tensor
    names: Sequence[str]
    columns: Sequence[int]

    def after(self, group: Tensor) -> "Situation":
        """The same once the groups (B, 1) were answered too."""
        return replace(self, asked=self.asked.scatter(1, group, 1.0))

    @cached_property
    def scores(self) -> Tensor:
        """(B, C): after the answers so far."""
        return self.head.scores(self.asked[:, None], self.gains)[:, 0]

    @cached_property
    def outlook(self) -> Factored | Direct:
        """The distributions were one concept more absent or present."""
        return self.head.outlook(self.scores, self.asked, self.answers)

    def after_each(self) -> Tensor:
        """(B, G, C): scores after the truth about each group alone, on top of the answers so far."""
        return self.head.after_each(self.scores, self.asked, self.answers, self.true_gains)

    def evidence(self) -> Evidence:
        """After the answers so far."""
        return intervened(self.model, self.head.evidence, self.asked @ self.head.members, self.answers)

    def expected(self, values: Tensor) -> Tensor:
        """(B, k): the mean of values (B, 2, k) for absent and present, by the concepts' probabilities."""
        return torch.lerp(values[:, 0], values[:, 1], self.probability)
