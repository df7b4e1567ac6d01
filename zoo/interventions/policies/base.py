"""The base class of intervention policies."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence
from zoo.interventions.policy_state import PolicyState

CLOSEST = 1e-8  # lower bound of a distance to 0.5 whose inverse is taken


class Policy:
    """Scores concept groups; the group of highest score is requested next, of ties the first.

    A policy defines `concept_scores`, which are reduced to groups by their mean (or maximum), or `group_scores`.

    Attributes:
        name: in reports and on the command line.
        reduce: score of a group from those of its concepts in the published code, "mean" or "max".
        rescores: scores again after every intervention in the original publication, instead of once.
        oracle: uses the truth, which is unknown in practice.
        stochastic: depends on random numbers, so that several orders are averaged.
        needs_fit: has to be fitted on validation data first.
        whole_groups: requests only the concept groups of the domain, no single concepts.
    """

    name: ClassVar[str]
    reduce: ClassVar[str] = "mean"
    rescores: ClassVar[bool] = False
    oracle: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    needs_fit: ClassVar[bool] = False
    whole_groups: ClassVar[bool] = False

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor arguments, for reports."""
        return {}

    def missing(self, model: SelfInterpretable, cached: CachedEvidence) -> str:
        """What the policy needs and the model lacks; empty if nothing."""
        return ""

    def fit(self, model: SelfInterpretable, validation: CachedEvidence, members: Tensor) -> Self:
        """Fits the policy on validation data; returns itself.

        Args:
            model: to intervene on.
            validation: evidence of the validation data.
            members: (G, k) in {0, 1}, the concepts of each group.
        """
        return self

    def concept_scores(self, state: PolicyState) -> Tensor:
        """Scores (B, k)."""
        raise NotImplementedError(f"{type(self).__name__} must define concept_scores(state) or group_scores(state)")

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        """Scores (B, G); `reduce` is "mean" or "max"."""
        return reduce_to_groups(self.concept_scores(state), state.effects.members, reduce)


def reduce_to_groups(scores: Tensor, members: Tensor, reduce: str) -> Tensor:
    """Mean or maximum (B, G) of the concept scores (B, k) in each group; members (G, k) in {0, 1}."""
    if reduce == "mean":
        return scores @ (members / members.sum(1, keepdim=True)).T
    return scores[:, None].masked_fill(members == 0, -torch.inf).amax(2)


def binary_entropy(probability: Tensor) -> Tensor:
    """Entropy of a Bernoulli distribution, in nats."""
    return torch.special.entr(probability) + torch.special.entr(1 - probability)
