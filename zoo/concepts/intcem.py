"""Intervention-aware concept embedding models: CEM with a policy that learns which concepts to request next.

Espinosa Zarlenga, Collins, Dvijotham, Weller, Shams, Jamnik: "Learning to Receive Help: Intervention-Aware Concept
Embedding Models", NeurIPS 2023, arXiv 2309.16928.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.embeddings import ConceptEmbedding, EmbeddingHead, mixed_embeddings, without_embeddings
from zoo.concepts.layers.losses import ConceptLoss
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_above, check_at_least, check_between

RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "policy", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 5.0, "rollout": 1.0},
)
LONGEST = 6  # maximum number of steps of a rollout
GROWTH = 1.005  # factor of the horizon per training step


@register(
    "intcem",
    modality=("image", "table", "text"),
    paper="Espinosa Zarlenga et al., NeurIPS 2023",
    small=Small({"width": 3, "policy": [8]}, on="table"),
)
class IntCEM(SelfInterpretable):
    """A CEM that is trained on the interventions that its own policy requests.

        evidence and scores as in CEM, with one scoring layer for each concept
        ψ(c, μ)                             (B, G) policy: logits of the group to request next; μ (B, G) intervened

        rollout: μ_0 at random, then T steps: the target is the group whose truth raises the true class's score most,
                 g* = argmax over g of Σ_{i in g} (c_i - p_i) (c⁺_i - c⁻_i)·W_y    in closed form, no head calls;
                 the next group is drawn from ψ (Gumbel-softmax, straight-through) and joins μ
        loss = (CE(y | μ_0) + γ^T CE(y | μ_T)) / (1 + γ^T) + λ concepts + λ_roll mean_t CE(ψ, g*_t)      (section 3)

    `next_group` evaluates ψ at test time.

    Differs from the published code: groups that were intervened on are neither the target nor drawn again, so μ stays
    in {0, 1}; groups are drawn for every row; the horizon depends on the number of training steps alone, so that a
    resumed run repeats it.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts and their groups.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m, length of an embedding.
        policy: widths of the hidden layers of ψ.
        gamma: γ, factor of the weight of a prediction per step of the rollout.
        horizon: maximum length of a rollout at the start of training; it grows by 0.5 % per training step.
        randint_probability: probability that a group is in μ_0, in [0, 1].
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, policy, head.

    Raises:
        ValueError: a domain without concepts, a regression task, or a number out of range.
    """

    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {"concept_weights": "concept_loss.weights"}
    head: EmbeddingHead
    members: Tensor

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
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "IntCEM")
        check_at_least(1, width=width, horizon=horizon)
        check_above(0, gamma=gamma)
        check_between(0, 1, randint_probability=randint_probability)
        self.gamma, self.horizon, self.randint_probability = gamma, horizon, randint_probability
        self.annotated = AnnotatedConcepts(self.domain, "IntCEM")
        count, columns = self.annotated.count, list(self.domain.group_columns().values())
        self.concept_loss = ConceptLoss(count, self.annotated.exclusive, weighting)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, count, width, shared=False)
        sizes = [count * width + len(columns), *policy]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.BatchNorm1d(a), nn.Linear(a, b), nn.LeakyReLU())]
        self.policy = nn.Sequential(*layers, nn.Linear(sizes[-1], len(columns)))
        self.head = EmbeddingHead(count, width, len(self.domain.classes))
        members = torch.zeros(len(columns), count)
        for g, group in enumerate(columns):
            members[g, group] = 1
        self.register_buffer("members", members, persistent=False)  # (G, k)

    def evidence(self, x: Tensor) -> Evidence:
        return self.concepts.evidence(self.backbone(x), self.annotated.exclusive)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head.scores(evidence)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.head.attribute(evidence, target)

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.head.slopes(evidence)

    def ablate(self, evidence: Evidence, units: Iterable[str | int]) -> Evidence:
        return without_embeddings(evidence, [self.unit_index(unit) for unit in units])

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def on_fit_start(self) -> None:
        self.concept_loss.measure_weights(getattr(self.trainer, "datamodule", None))

    def next_group(self, evidence: Evidence, intervened: Tensor) -> Tensor:
        """Policy logits (B, G) of the group to request next; -inf for the groups `intervened` (B, G) on already."""
        inputs = torch.cat([mixed_embeddings(evidence).flatten(1), intervened.to(evidence.activation)], 1)
        return self.policy(inputs).masked_fill(intervened > 0.5, -torch.inf)

    def greedy_group(self, evidence: Evidence, truth: Tensor, intervened: Tensor, target: Tensor) -> Tensor:
        """The group (B,) not yet `intervened` (B, G) on whose truth raises the score of the target most.

        Args:
            evidence: of B inputs.
            truth: (B, k) true concepts.
            intervened: (B, G) in {0, 1}.
            target: (B,) classes.
        """
        difference = evidence.state["positive"] - evidence.state["negative"]
        slope = (difference * self.head.blocks()[target]).sum(2)  # (B, k)
        gain = ((truth - evidence.activation) * slope) @ self.members.T  # (B, G)
        return gain.masked_fill(intervened > 0.5, -torch.inf).argmax(1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts, target, weights = batch["concepts"], batch["target"], batch.get("class_weights")
        concept_term = self.concept_loss(evidence.state["logit"], concepts)
        if not self.training:
            return {"task": task_loss(scores, target, self.domain, weights), "concepts": concept_term}
        truth = torch.where(concepts.isfinite(), concepts.to(evidence.activation), evidence.activation)
        first = self._first_groups(len(concepts), concepts.device)
        steps = 1 + self._below(max(min(self._limit(), LONGEST) - 1, 1))
        last, rollout = self._rollout(evidence, truth, first, target, steps)
        weight = self.gamma**steps
        before, after = (
            task_loss(self._scores_at(evidence, truth, mu), target, self.domain, weights) for mu in (first, last)
        )
        return {"task": (before + weight * after) / (1 + weight), "concepts": concept_term, "rollout": rollout}

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def _rollout(
        self, evidence: Evidence, truth: Tensor, intervened: Tensor, target: Tensor, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Requests `steps` more groups; returns all groups intervened on (B, G) and the mean loss of the policy."""
        losses = []
        for _ in range(steps):
            now = self._at(evidence, truth, intervened)
            logits = self.next_group(now, intervened)
            unfinished = (intervened < 0.5).any(1)  # rows with a group left
            logits = logits.where(unfinished[:, None], torch.zeros_like(logits))
            best = self.greedy_group(now, truth, intervened, target)
            loss = F.cross_entropy(logits, best, reduction="none")
            losses.append((loss * unfinished).sum() / unfinished.sum().clamp_min(1))
            drawn = F.gumbel_softmax(logits, hard=True)
            intervened = intervened + drawn * unfinished[:, None] * (intervened < 0.5)
        return intervened, torch.stack(losses).mean()

    def _at(self, evidence: Evidence, truth: Tensor, intervened: Tensor) -> Evidence:
        """The evidence after interventions on groups (B, G), with a gradient to the draw of the groups."""
        mask = intervened @ self.members
        return Evidence(torch.lerp(evidence.activation, truth, mask), state=evidence.state)

    def _scores_at(self, evidence: Evidence, truth: Tensor, intervened: Tensor) -> Tensor:
        return self.readout(self._at(evidence, truth, intervened))

    def _first_groups(self, rows: int, device: torch.device) -> Tensor:
        """μ_0 (B, G): every group with the probability of RandInt, and a few more."""
        draw = torch.rand(rows, len(self.members), device=device)
        intervened = draw < self.randint_probability
        more = self._below(self._limit())
        if more:
            rest = torch.rand_like(draw).masked_fill(intervened, -1)
            intervened = intervened.scatter(1, rest.topk(more, 1).indices, True)
        return intervened.float()

    def _limit(self) -> int:
        """Maximum number of groups that a rollout requests at this training step, at most G - 1."""
        grown = self.horizon * math.exp(min(self.global_step * math.log(GROWTH), 50.0))
        return max(int(min(grown, len(self.members) - 1)), 1)

    def _below(self, limit: int) -> int:
        """An integer in [0, limit), drawn on the CPU so that no device has to synchronise."""
        return int(torch.randint(limit, (1,)))
