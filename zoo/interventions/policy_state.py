"""The state in which a policy chooses the next concept group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.interventions.effects import Effects, set_concepts
from zoo.interventions.outcome_distributions import DirectOutcomes, FactoredOutcomes


@dataclass(frozen=True, eq=False)
class PolicyState:
    """B rows after some interventions.

    Attributes:
        model: being intervened on.
        effects: of interventions on the scores.
        probability: (B, k) of the concepts, as predicted.
        truth: (B, k) in {0, 1, NaN}, for oracles only.
        target: (B,) true classes, for oracles only.
        labels: (B, k) in {0, 1, NaN}, of the annotator; a policy may use only those of the groups `intervened`.
        changes, true_changes: of `labels` and of `truth`, see `AffineEffects.changes`.
        intervened: (B, G) in {0, 1}, groups that are set to their labels.
        noise: (B, G) in [0, 1), for stochastic policies.
        groups: names of the G groups.
        columns: of the G groups among all groups of the domain.
    """

    model: SelfInterpretable
    effects: Effects
    probability: Tensor
    truth: Tensor
    target: Tensor
    labels: Tensor
    changes: Tensor
    true_changes: Tensor
    intervened: Tensor
    noise: Tensor
    groups: Sequence[str]
    columns: Sequence[int]

    def after(self, group: Tensor) -> "PolicyState":
        """The state after one more group (B, 1) is set."""
        return replace(self, intervened=self.intervened.scatter(1, group, 1.0))

    @cached_property
    def scores(self) -> Tensor:
        """Scores (B, C) after the interventions."""
        return self.effects.scores(self.intervened[:, None], self.changes)[:, 0]

    @cached_property
    def outcomes(self) -> FactoredOutcomes | DirectOutcomes:
        """Class distributions if one more concept were absent or present."""
        return self.effects.outcomes(self.scores, self.intervened, self.labels)

    def scores_after_each(self) -> Tensor:
        """Scores (B, G, C) after one more group is set to its truth."""
        return self.effects.scores_after_each(self.scores, self.intervened, self.labels, self.true_changes)

    def evidence(self) -> Evidence:
        """The evidence after the interventions."""
        mask = self.intervened @ self.effects.members
        return set_concepts(self.model, self.effects.evidence, mask, self.labels)

    def expected(self, values: Tensor) -> Tensor:
        """Mean (B, k) of values (B, 2, k) for absent and present, weighted by the predicted probabilities."""
        return torch.lerp(values[:, 0], values[:, 1], self.probability)
