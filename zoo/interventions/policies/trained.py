"""Policies that are learned: with the model, or from validation data.

Espinosa Zarlenga et al., "Learning to Receive Help", NeurIPS 2023, arXiv 2309.16928.
"""

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence, concepts_of
from zoo.interventions.effects import chunk_rows, intervention_effects
from zoo.interventions.policies.base import CLOSEST, Policy
from zoo.interventions.policy_state import PolicyState
from zoo.utils.functional import area_under_roc


@runtime_checkable
class HasPolicy(Protocol):
    """A model with an intervention policy of its own, such as IntCEM."""

    def next_group(self, evidence: Evidence, intervened: Tensor) -> Tensor:
        """Policy logits (B, G) of the group to request next; -inf for the groups `intervened` (B, G) on already."""
        ...


class Learned(Policy):
    """The policy of the model, trained with it: `next_group(evidence, intervened)`, as IntCEM has."""

    name, rescores, whole_groups = "learned", True, True

    def missing(self, model: SelfInterpretable, cached: CachedEvidence) -> str:
        return "" if isinstance(model, HasPolicy) else "a policy of its own (`next_group`), as intcem has"

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        if not isinstance(state.model, HasPolicy):
            raise ValueError(f"the policy '{self.name}' needs a model with `next_group`, such as intcem.")
        groups = len(state.model.domain.group_columns())
        intervened = state.intervened.new_zeros(len(state.intervened), groups)
        intervened[:, state.columns] = state.intervened
        return state.model.next_group(state.evidence(), intervened)[:, state.columns]


class FittedPolicy(Policy):
    """A global policy: scores that are the same for all rows, fitted on validation data."""

    needs_fit = True
    order: Tensor | None = None

    def fitted(self) -> Tensor:
        """The fitted scores.

        Raises:
            RuntimeError: the policy was not fitted.
        """
        if self.order is None:
            raise RuntimeError(f"the policy '{self.name}' learns from validation data; call its fit() first.")
        return self.order


class ValidationError(FittedPolicy):
    """1 / |AUC - 0.5| of each concept on validation data, so that the least predictable concepts come first.

    A concept whose labels are all equal there comes last.
    """

    name = "val_error"

    def fit(self, model: SelfInterpretable, validation: CachedEvidence, members: Tensor) -> Self:
        concepts = concepts_of(model)
        parts = validation.parts(chunk_rows(model, validation), model.device)
        probability = torch.cat([concepts.probability(part.evidence).cpu() for part in parts])
        area = area_under_roc(probability, validation.concepts)
        self.order = (1 / (area - 0.5).abs().clamp_min(CLOSEST)).nan_to_num(0.0).float()
        return self

    def concept_scores(self, state: PolicyState) -> Tensor:
        return self.fitted().to(state.probability).expand_as(state.probability)


class ValidationImprovement(FittedPolicy):
    """Accuracy on validation data after a group alone is set to its truth."""

    name = "val_improvement"

    def fit(self, model: SelfInterpretable, validation: CachedEvidence, members: Tensor) -> Self:
        correct = torch.zeros(len(members), dtype=torch.long)
        for part in validation.parts(chunk_rows(model, validation), model.device):
            effects = intervention_effects(model, part.evidence, members)
            none, changes = members.new_zeros(len(part), len(members)), effects.changes(part.concepts)
            scores = effects.scores(none[:, None], changes)[:, 0]
            after = effects.scores_after_each(scores, none, part.concepts, changes)
            correct += (after.argmax(2) == part.target[:, None]).sum(0).cpu()
        self.order = correct / len(validation)
        return self

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        return self.fitted().to(state.probability).expand_as(state.intervened)
