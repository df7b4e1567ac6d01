"""Policies that use the effect of an intervention on the class scores.

Shin et al., "A Closer Look at the Intervention Procedure of Concept Bottleneck Models", ICML 2023, arXiv 2302.14260
(CCTP, ECTP, EUDTP); Chauhan et al., "Interactive Concept Bottleneck Models", AAAI 2023, arXiv 2212.07430 (CooP);
Espinosa Zarlenga et al., NeurIPS 2023, arXiv 2309.16928 (greedy).
"""

from collections.abc import Mapping
from math import log
from typing import Any

from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence
from zoo.interventions.effects import AffineEffects
from zoo.interventions.policies.base import Policy, binary_entropy
from zoo.interventions.policy_state import PolicyState
from zoo.utils.errors import did_you_mean


class CCTP(Policy):
    """Contribution of a concept to all classes: p Σ_y |D(y)|, D the slopes of the scores."""

    name = "cctp"

    def missing(self, model: SelfInterpretable, cached: CachedEvidence) -> str:
        linear = model.slopes(cached.part(slice(0, 1), model.device).evidence) is not None
        return "" if linear else "scores that are linear in the concepts"

    def concept_scores(self, state: PolicyState) -> Tensor:
        if not isinstance(state.effects, AffineEffects):
            raise ValueError(f"the policy '{self.name}' needs scores that are linear in the concepts.")
        return state.probability * state.effects.sensitivity()


class ECTP(Policy):
    """Expected change in target prediction: (1 - p) KL(P_0 || P) + p KL(P_1 || P)."""

    name = "ectp"

    def concept_scores(self, state: PolicyState) -> Tensor:
        return state.expected(state.outcomes.divergence())


class EUDTP(Policy):
    """Expected uncertainty decrease in target prediction: H(P) - (1 - p) H(P_0) - p H(P_1)."""

    name = "eudtp"

    def concept_scores(self, state: PolicyState) -> Tensor:
        log_probability = state.scores.log_softmax(1)
        entropy = -(log_probability.exp() * log_probability).sum(1, keepdim=True)
        return entropy - state.expected(state.outcomes.entropy())


class CooP(Policy):
    """Cooperative prediction: α H(p) / ln 2 + β |(1 - p) P_0(ŷ) + p P_1(ŷ) - P(ŷ)| - cost, ŷ the present prediction.

    Differs from the published code: both values are weighted by their probabilities for two classes as for many; the
    cost of a group is subtracted.

    Args:
        alpha: α, weight of the uncertainty of the concept.
        beta: β, weight of its importance.
        costs: cost of requesting a group, by name; 0 for the others.
    """

    name, rescores = "coop", True

    def __init__(self, alpha: float = 1.0, beta: float = 10.0, costs: Mapping[str, float] | None = None) -> None:
        self.alpha, self.beta, self.costs = alpha, beta, dict(costs or {})

    @property
    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "beta": self.beta} | ({"costs": self.costs} if self.costs else {})

    def concept_scores(self, state: PolicyState) -> Tensor:
        probability, best = state.scores.softmax(1).max(1)
        importance = (state.expected(state.outcomes.probability(best)) - probability[:, None]).abs()
        return self.alpha * binary_entropy(state.probability) / log(2) + self.beta * importance

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        scores = super().group_scores(state, reduce)
        if not self.costs:
            return scores
        for name in self.costs:
            if name not in state.groups:
                near = did_you_mean(name, state.groups)
                raise ValueError(f"costs names '{name}', which is not among the groups of the protocol; {near}")
        return scores - scores.new_tensor([self.costs.get(name, 0.0) for name in state.groups])


class Greedy(Policy):
    """Best single step, an oracle: probability of the true class after the group is set to its truth."""

    name, rescores, oracle = "greedy", True, True

    def group_scores(self, state: PolicyState, reduce: str) -> Tensor:
        columns = state.target[:, None, None].expand(-1, state.intervened.shape[1], 1)
        return state.scores_after_each().log_softmax(2).gather(2, columns)[..., 0]
