"""Policies that use the concept predictions alone.

Koh et al., "Concept Bottleneck Models", ICML 2020 (random); Shin et al., "A Closer Look at the Intervention Procedure
of Concept Bottleneck Models", ICML 2023, arXiv 2302.14260 (uncertainty, LCP).
"""

from torch import Tensor

from zoo.interventions.policies.base import CLOSEST, Policy, binary_entropy
from zoo.interventions.policy_state import PolicyState


class Random(Policy):
    """Groups in a random order, drawn for every row."""

    name, stochastic = "random", True

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        return state.noise


class Uncertainty(Policy):
    """Uncertainty of concept prediction (UCP): 1 / |p - 0.5|; that of a group is its maximum (code of IntCEM)."""

    name, reduce = "uncertainty", "max"

    def concept_scores(self, state: PolicyState) -> Tensor:
        return 1 / (state.probability - 0.5).abs().clamp_min(CLOSEST)


class Entropy(Policy):
    """Uncertainty of concept prediction by entropy: H(p)."""

    name = "entropy"

    def concept_scores(self, state: PolicyState) -> Tensor:
        return binary_entropy(state.probability)


class LCP(Policy):
    """Loss on concept prediction, an oracle: (p - c)²; 0 where the truth is unknown."""

    name, oracle = "lcp", True

    def concept_scores(self, state: PolicyState) -> Tensor:
        return (state.probability - state.truth).square().nan_to_num(0.0)
