"""Intervention-aware concept embedding models: CEM with a policy that learns which concept to ask for next.

Espinosa Zarlenga, Collins, Dvijotham, Weller, Shams, Jamnik: "Learning to Receive Help: Intervention-Aware Concept
Embedding Models", NeurIPS 2023, arXiv 2309.16928.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.embeddings import ConceptEmbedding, Embedded
from zoo.concepts.layers.losses import check_weighting, concept_loss
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "policy", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 5.0, "rollout": 1.0},
)
LONGEST = 6  # steps of a rollout
GROWTH = 1.005  # of the horizon with every step of training


@register(
    "intcem",
    modality=("image", "table", "text"),
    paper="Espinosa Zarlenga et al., NeurIPS 2023",
    small=Small({"width": 3, "policy": [8]}, on="table"),
)
class IntCEM(Embedded, SelfInterpretable):
    """A CEM that is trained on the interventions it would ask for.

        evidence and scores as in CEM, with one scoring layer for each concept
        ψ(c, μ)                             (B, G) how much the model wants to know each concept group; μ (B, G) asked

        rollout: μ_0 at random, then T steps: the target is the group whose truth raises the true class's score most,
                 g* = argmax over g of Σ_{i in g} (c_i - p_i) (c⁺_i - c⁻_i)·W_y    in closed form, no head calls;
                 the next group is drawn from ψ (Gumbel-softmax, straight-through) and joins μ
        loss = (CE(y | μ_0) + γ^T CE(y | μ_T)) / (1 + γ^T) + λ concepts + λ_roll mean_t CE(ψ, g*_t)      (section 3)

    `next_group` gives ψ at test time.

    How this differs from the official code: groups that were asked already are neither target nor drawn again, so μ
    stays in {0, 1}; draws are made for every row; the horizon follows from the number of training steps alone, so
    that a resumed run repeats it.

    Args:
        domain: what inputs and outputs mean (`data.domain`); it names the concepts and their groups.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m, length of an embedding.
        policy: widths of the hidden layers of ψ.
        gamma: γ, how much more a prediction counts per step of the rollout.
        horizon: longest rollout at the start of training; it grows by 0.5 % with every step.
        randint_probability: of a group being in μ_0, in [0, 1].
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, policy, head.

    Raises:
        ValueError: a domain without concepts, or a number out of range.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        width: int = 16,
        policy: Sequence[int] = (256, 128),
        gamma: float = 1.1,
        horizon: float = 2.0,
        randint_probability: float = 0.25,
        weighting: str = "none",
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "IntCEM")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if width < 1 or gamma <= 0 or horizon < 1 or not 0 <= randint_probability <= 1:
            raise ValueError(
                "expected width >= 1, gamma > 0, horizon >= 1 and randint_probability in [0, 1]; got "
                f"{width}, {gamma}, {horizon} and {randint_probability}."
            )
        self.gamma, self.horizon, self.randint_probability = gamma, horizon, randint_probability
        self.weighting = check_weighting(weighting)
        count, columns = len(domain.concepts), list(domain.group_columns().values())
        self.backbone = create_encoder(backbone, domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, count, width, shared=False)
        sizes = [count * width + len(columns), *policy]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.BatchNorm1d(a), nn.Linear(a, b), nn.LeakyReLU())]
        self.policy = nn.Sequential(*layers, nn.Linear(sizes[-1], len(columns)))
        self.head = nn.Linear(count * width, len(domain.classes))
        members = torch.zeros(len(columns), count)
        for g, group in enumerate(columns):
            members[g, group] = 1
        self.register_buffer("members", members, persistent=False)  # (G, k)
        self.register_buffer("concept_weights", torch.ones(count))
        self.concept_cards = self.concept_metric_sets()

    def next_group(self, evidence: Evidence, asked: Tensor) -> Tensor:
        """(B, G) how much the model wants to know each group next; -inf for those `asked` (B, G) already."""
        seen = torch.cat([self.mixed(evidence).flatten(1), asked.to(evidence.activation)], 1)
        return self.policy(seen).masked_fill(asked > 0.5, -torch.inf)

    def greedy_group(self, evidence: Evidence, truth: Tensor, asked: Tensor, target: Tensor) -> Tensor:
        """(B,) the group whose truth (B, k) would raise the score of the target most, of those not `asked` (B, G)."""
        difference = evidence.state["positive"] - evidence.state["negative"]
        slope = (difference * self.blocks()[target]).sum(2)  # (B, k)
        gain = ((truth - evidence.activation) * slope) @ self.members.T
        return gain.masked_fill(asked > 0.5, -torch.inf).argmax(1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts, target = batch["concepts"], batch["target"]
        concept_term = concept_loss(
            evidence.state["logit"], concepts, self.exclusive, self.weighting, self.concept_weights
        )
        if not self.training:
            return {"task": task_loss(scores, target, self.domain), "concepts": concept_term}
        truth = torch.where(concepts.isfinite(), concepts.to(evidence.activation), evidence.activation)
        first = self._first_groups(len(concepts), concepts.device)
        steps = 1 + self._below(max(min(self._limit(), LONGEST) - 1, 1))
        last, rollout = self._rollout(evidence, truth, first, target, steps)
        weight = self.gamma**steps
        before, after = (task_loss(self._scores_at(evidence, truth, mu), target, self.domain) for mu in (first, last))
        return {"task": (before + weight * after) / (1 + weight), "concepts": concept_term, "rollout": rollout}

    def _rollout(
        self, evidence: Evidence, truth: Tensor, asked: Tensor, target: Tensor, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Asks for `steps` groups; returns who was asked (B, G) and the mean loss of the policy."""
        losses = []
        for _ in range(steps):
            now = self._at(evidence, truth, asked)
            wanted = self.next_group(now, asked)
            open_ = (asked < 0.5).any(1)  # rows with a group left
            best = self.greedy_group(now, truth, asked, target)
            loss = F.cross_entropy(wanted.where(open_[:, None], torch.zeros_like(wanted)), best, reduction="none")
            losses.append((loss * open_).sum() / open_.sum().clamp_min(1))
            drawn = F.gumbel_softmax(wanted.where(open_[:, None], torch.zeros_like(wanted)), hard=True)
            asked = asked + drawn * open_[:, None] * (asked < 0.5)
        return asked, torch.stack(losses).mean()

    def _at(self, evidence: Evidence, truth: Tensor, asked: Tensor) -> Evidence:
        """The evidence after the groups `asked` (B, G), with a gradient to how they were drawn."""
        mask = asked @ self.members
        return Evidence(torch.lerp(evidence.activation, truth, mask), state=evidence.state)

    def _scores_at(self, evidence: Evidence, truth: Tensor, asked: Tensor) -> Tensor:
        return self.readout(self._at(evidence, truth, asked))

    def _first_groups(self, rows: int, device: torch.device) -> Tensor:
        """μ_0 (B, G): every group with the probability of RandInt, and a few more."""
        draw = torch.rand(rows, len(self.members), device=device)
        asked = draw < self.randint_probability
        more = self._below(self._limit())
        if more:
            rest = torch.rand_like(draw).masked_fill(asked, -1)
            asked = asked.scatter(1, rest.topk(more, 1).indices, True)
        return asked.float()

    def _limit(self) -> int:
        """How many groups a rollout may ask for at this point of the training, at most one less than there are."""
        grown = self.horizon * math.exp(min(self.global_step * math.log(GROWTH), 50.0))
        return max(int(min(grown, len(self.members) - 1)), 1)

    def _below(self, limit: int) -> int:
        """A whole number in [0, limit) from the generator of the CPU: no synchronisation with a device."""
        return int(torch.randint(limit, (1,)))
