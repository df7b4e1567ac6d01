"""What to ask for next: the intervention policies of the literature, as scores of concepts or of their groups.

Koh et al., "Concept Bottleneck Models", ICML 2020 (random); Shin et al., "A Closer Look at the Intervention Procedure
of Concept Bottleneck Models", ICML 2023, arXiv 2302.14260 (uncertainty, LCP, CCTP, ECTP, EUDTP); Chauhan et al.,
"Interactive Concept Bottleneck Models", AAAI 2023, arXiv 2212.07430 (CooP); Espinosa Zarlenga et al., NeurIPS 2023,
arXiv 2309.16928 (learned, greedy, and the two global ones).
"""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from zoo.interventions.annotator import Cached
from zoo.interventions.effects import chunk_rows, head_of
from zoo.interventions.policy_state import Situation
from zoo.utils.errors import did_you_mean
from zoo.utils.functional import area_under_roc

CLOSEST = 1e-8  # to a probability of 0.5, where 1 / distance has a pole


class Policy:
    """Scores what could be asked for; the highest is asked for first, of ties the first.

    A policy defines `concepts`, whose scores are reduced to groups by their mean (or maximum), or `groups`.

    Attributes:
        name: in reports and on the command line.
        rescored: whether its authors score again after every answer, instead of once.
        oracle: whether it looks at what is not known when it asks.
        lucky: whether it depends on luck, so that several orders are averaged.
        fitted: whether it has to learn from validation data first.
        whole: whether it can only ask for the concept groups of the domain, as they are.
    """

    name: ClassVar[str]
    rescored: ClassVar[bool] = False
    oracle: ClassVar[bool] = False
    lucky: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    order: Tensor | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, for reports."""
        return {}

    def missing(self, model: Any, cached: Cached) -> str:
        """What it needs of a model that this one lacks; empty if it lacks nothing."""
        return ""

    def fit(self, model: Any, validation: Cached, members: Tensor) -> Self:
        """Learns what it has to learn from validation data, for groups of members (G, k); returns itself."""
        return self

    def learned(self) -> Tensor:
        """What `fit` has learned.

        Raises:
            RuntimeError: it was never called.
        """
        if self.order is None:
            raise RuntimeError(f"the policy '{self.name}' learns from validation data; call its fit() first.")
        return self.order

    def concepts(self, now: Situation) -> Tensor:
        """(B, k)."""
        raise NotImplementedError("a policy defines concepts() or groups()")

    def groups(self, now: Situation, reduce: str) -> Tensor:
        """(B, G)."""
        return reduced(self.concepts(now), now.head.members, reduce)


class Random(Policy):
    """Any group, each as likely as another, for every row anew."""

    name, lucky = "random", True

    def groups(self, now: Situation, reduce: str) -> Tensor:
        return now.noise


class Uncertainty(Policy):
    """UCP: 1 / |p - 0.5|."""

    name = "uncertainty"

    def concepts(self, now: Situation) -> Tensor:
        return 1 / (now.probability - 0.5).abs().clamp_min(CLOSEST)


class Entropy(Policy):
    """UCP by entropy: H(p)."""

    name = "entropy"

    def concepts(self, now: Situation) -> Tensor:
        return binary_entropy(now.probability)


class LCP(Policy):
    """Loss on concept prediction, an oracle: (p - c)²; 0 where the truth is not known."""

    name, oracle = "lcp", True

    def concepts(self, now: Situation) -> Tensor:
        return (now.probability - now.truth).square().nan_to_num(0.0)


class CCTP(Policy):
    """Contribution of a concept to all classes: p Σ_y |D(y)|, D the slopes of the scores."""

    name = "cctp"

    def missing(self, model: Any, cached: Cached) -> str:
        linear = model.slopes(cached.part(slice(0, 1), model.device).evidence) is not None
        return "" if linear else "scores that are linear in the concepts"

    def concepts(self, now: Situation) -> Tensor:
        return now.probability * now.head.steepness()


class ECTP(Policy):
    """Expected change in target prediction: (1 - p) KL(P_0 || P) + p KL(P_1 || P)."""

    name = "ectp"

    def concepts(self, now: Situation) -> Tensor:
        return now.expected(now.outlook.divergence())


class EUDTP(Policy):
    """Expected uncertainty decrease in target prediction: H(P) - (1 - p) H(P_0) - p H(P_1)."""

    name = "eudtp"

    def concepts(self, now: Situation) -> Tensor:
        log_shares = now.scores.log_softmax(1)
        entropy = -(log_shares.exp() * log_shares).sum(1, keepdim=True)
        return entropy - now.expected(now.outlook.entropy())


class CooP(Policy):
    """Cooperative prediction: α H(p) / ln 2 + β |(1 - p) P_0(ŷ) + p P_1(ŷ) - P(ŷ)| - cost, ŷ the prediction now.

    How this differs from the official code: the probabilities weigh both values for two classes as for many; the cost
    of a group is subtracted.

    Args:
        alpha: α, weight of the concept's uncertainty.
        beta: β, weight of its importance.
        costs: of asking for a group, by name; 0 for those that are not named.
    """

    name, rescored = "coop", True

    def __init__(self, alpha: float = 1.0, beta: float = 10.0, costs: Mapping[str, float] | None = None) -> None:
        self.alpha, self.beta, self.costs = alpha, beta, dict(costs or {})

    @property
    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "beta": self.beta} | ({"costs": self.costs} if self.costs else {})

    def concepts(self, now: Situation) -> Tensor:
        share, best = now.scores.softmax(1).max(1)
        importance = (now.expected(now.outlook.share(best)) - share[:, None]).abs()
        return self.alpha * binary_entropy(now.probability) / log(2) + self.beta * importance

    def groups(self, now: Situation, reduce: str) -> Tensor:
        gain = super().groups(now, reduce)
        if not self.costs:
            return gain
        for name in self.costs:
            if name not in now.names:
                raise ValueError(f"costs names '{name}', which cannot be asked for; {did_you_mean(name, now.names)}")
        return gain - gain.new_tensor([self.costs.get(name, 0.0) for name in now.names])


class Greedy(Policy):
    """The best single step, an oracle: P of the true class once the truth about the group is known."""

    name, rescored, oracle = "greedy", True, True

    def groups(self, now: Situation, reduce: str) -> Tensor:
        wanted = now.target[:, None, None].expand(-1, now.asked.shape[1], 1)
        return now.after_each().log_softmax(2).gather(2, wanted)[..., 0]


class Learned(Policy):
    """The model's own policy, trained with it: `next_group(evidence, asked)`, as IntCEM has."""

    name, rescored, whole = "learned", True, True

    def missing(self, model: Any, cached: Cached) -> str:
        return "" if hasattr(model, "next_group") else "a policy of its own (`next_group`), as intcem has"

    def groups(self, now: Situation, reduce: str) -> Tensor:
        every = now.asked.new_zeros(len(now.asked), len(now.model.domain.group_columns()))
        every[:, now.columns] = now.asked
        return now.model.next_group(now.evidence(), every)[:, now.columns]


class ValidationError(Policy):
    """Global: 1 / |AUC - 0.5| of each concept on validation data, so that the least predictable come first.

    A concept that has but one kind of label there comes last.
    """

    name, fitted = "val_error", True

    def fit(self, model: Any, validation: Cached, members: Tensor) -> Self:
        parts = validation.parts(chunk_rows(model, validation), model.device)
        probability = torch.cat([model.concept_probability(part.evidence).cpu() for part in parts])
        area = area_under_roc(probability, validation.concepts)
        self.order = (1 / (area - 0.5).abs().clamp_min(CLOSEST)).nan_to_num(0.0).float()
        return self

    def concepts(self, now: Situation) -> Tensor:
        return self.learned().to(now.probability).expand_as(now.probability)


class ValidationImprovement(Policy):
    """Global: accuracy on validation data once the truth about one group alone is known."""

    name, fitted = "val_improvement", True

    def fit(self, model: Any, validation: Cached, members: Tensor) -> Self:
        right = torch.zeros(len(members), dtype=torch.long)
        for part in validation.parts(chunk_rows(model, validation), model.device):
            head = head_of(model, part.evidence, members)
            nothing, gains = members.new_zeros(len(part), len(members)), head.gains(part.concepts)
            scores = head.scores(nothing[:, None], gains)[:, 0]
            after = head.after_each(scores, nothing, part.concepts, gains)
            right += (after.argmax(2) == part.target[:, None]).sum(0).cpu()
        self.order = right / len(validation)
        return self

    def groups(self, now: Situation, reduce: str) -> Tensor:
        return self.learned().to(now.probability).expand_as(now.asked)


def reduced(scores: Tensor, members: Tensor, reduce: str) -> Tensor:
    """(B, G): mean or maximum of the concepts' scores (B, k) over each group; members (G, k) in {0, 1}."""
    if reduce == "mean":
        return scores @ (members / members.sum(1, keepdim=True)).T
    return scores[:, None].masked_fill(members == 0, -torch.inf).amax(2)


def binary_entropy(probability: Tensor) -> Tensor:
    """H(p) in nats."""
    return torch.special.entr(probability) + torch.special.entr(1 - probability)


KINDS = (Random, Uncertainty, Entropy, LCP, CCTP, ECTP, EUDTP, CooP, Greedy, Learned, ValidationError)
POLICIES: dict[str, type[Policy]] = {kind.name: kind for kind in (*KINDS, ValidationImprovement)}


def check_names(names: Sequence[str]) -> None:
    """Refuses names of which there is no policy; "all" alone is one.

    Raises:
        ValueError: the message has the nearest name.
    """
    if "all" in names and len(names) > 1:
        raise ValueError(f"'all' stands alone, for every intervention policy; got {', '.join(names)}.")
    for name in names:
        if name not in POLICIES and name != "all":
            raise ValueError(f"no intervention policy named '{name}'; {did_you_mean(name, ['all', *POLICIES])}")


def make_policies(names: Sequence[str], model: Any, cached: Cached) -> list[Policy]:
    """The policies of those names; of "all", those that have what they need of the model.

    Raises:
        ValueError: no policy of a name, or one that the model lacks something for.
    """
    check_names(names)
    if list(names) == ["all"]:
        return [policy for kind in POLICIES.values() if not (policy := kind()).missing(model, cached)]
    policies = [POLICIES[name]() for name in names]
    for policy in policies:
        if lack := policy.missing(model, cached):
            raise ValueError(f"the policy '{policy.name}' needs {lack}; {type(model).__name__} has none. Leave it out.")
    return policies
