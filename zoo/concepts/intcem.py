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

        rollout: μ_r by RandInt, μ_0 = μ_r and some more groups at random, then T steps: the target is the group whose
                 truth raises the true class's score most,
                 g* = argmax over g of Σ_{i in g} (c_i - p_i) (c⁺_i - c⁻_i)·W_y    in closed form, no head calls;
                 the next group is drawn from ψ (Gumbel-softmax, straight-through) and joins μ
        loss = (CE(y | μ_r) + γ^T CE(y | μ_T)) / (1 + γ^T) + λ concepts + λ_roll mean_t CE(ψ, g*_t)      (section 3)

    With G groups, limit the horizon and r = |μ_r|, the number of groups that join μ_0 is uniform over
    0 ... min(limit, G - r - 1) - 1, and T is uniform over 1 ... min(limit, 6, G - |μ_0|) - 1 (0 if that is empty).

    `next_group` evaluates ψ at test time.

    Differs from the published code: groups that were intervened on are neither the target nor drawn again, so μ stays
    in {0, 1}; μ_r, μ_0 and T are drawn for every row (published: their sizes once per batch); the horizon depends on
    the number of training steps alone, so that a resumed run repeats it.

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
        sizes = [count * width + count, *policy, len(columns)]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.BatchNorm1d(a), nn.Linear(a, b), nn.LeakyReLU())]
        self.policy = nn.Sequential(*layers[:-1])
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

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        return self.head.attribute_mean(evidence)

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
        concepts = intervened.to(evidence.activation) @ self.members  # (B, k)
        inputs = torch.cat([mixed_embeddings(evidence).flatten(1), concepts], 1)
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
        randint, first, steps = self._draw_start(len(concepts), concepts.device)
        last, rollout = self._rollout(evidence, truth, first, target, steps)
        weight = self.gamma**steps
        before, after = (
            F.cross_entropy(self._scores_at(evidence, truth, mu), target, reduction="none") for mu in (randint, last)
        )
        rows = torch.ones_like(before) if weights is None else weights[target]
        task = (rows * (before + weight * after) / (1 + weight)).sum() / rows.sum()
        return {"task": task, "concepts": concept_term, "rollout": rollout}

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def _rollout(
        self, evidence: Evidence, truth: Tensor, intervened: Tensor, target: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Requests `steps` (B,) more groups for each row, of which there must be as many.

        Returns:
            all groups intervened on (B, G), and the loss of the policy: mean over the steps of a row, then over rows
            with a step.
        """
        total = torch.zeros_like(steps, dtype=evidence.activation.dtype)
        for t in range(self._longest()):  # known without asking the device how long the longest rollout is
            active = t < steps
            now = self._at(evidence, truth, intervened)
            logits = self.next_group(now, intervened)
            logits = logits.where(active[:, None], torch.zeros_like(logits))
            best = self.greedy_group(now, truth, intervened, target)
            total = total + F.cross_entropy(logits, best, reduction="none") * active
            intervened = intervened + F.gumbel_softmax(logits, hard=True) * active[:, None]
        loss = (total / steps.clamp_min(1)).sum() / (steps > 0).sum().clamp_min(1)
        return intervened, loss

    def _at(self, evidence: Evidence, truth: Tensor, intervened: Tensor) -> Evidence:
        """The evidence after interventions on groups (B, G), with a gradient to the draw of the groups."""
        mask = intervened @ self.members
        return Evidence(torch.lerp(evidence.activation, truth, mask), state=evidence.state)

    def _scores_at(self, evidence: Evidence, truth: Tensor, intervened: Tensor) -> Tensor:
        return self.readout(self._at(evidence, truth, intervened))

    def _draw_start(self, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Draws μ_r and μ_0 (B, G) in {0, 1}, and the lengths T (B,) of the rollouts."""
        count, limit = len(self.members), self._limit()
        draw = torch.rand(rows, count, device=device)
        randint = draw < self.randint_probability
        used = randint.sum(1)
        more = self._below((count - used - 1).clamp(max=limit))
        rank = torch.rand_like(draw).masked_fill(randint, 2).argsort(1).argsort(1)  # of free groups: 0, 1, ...
        first = randint | (rank < more[:, None])
        room = (count - used - more).clamp(max=min(limit, LONGEST))
        return randint.float(), first.float(), (1 + self._below(room - 1)).where(room > 1, 0)

    def _limit(self) -> int:
        """The horizon at this training step: grows until it exceeds the number of groups."""
        grown = self.horizon * math.exp(min(self.global_step * math.log(GROWTH), 50.0))
        return int(min(grown, len(self.members) + 1))

    def _longest(self) -> int:
        """Maximum length of a rollout at this training step."""
        return min(self._limit(), LONGEST) - 1

    @staticmethod
    def _below(limits: Tensor) -> Tensor:
        """Integers (B,) in [0, limit), each with its own limit; 0 for limits below 1."""
        return (
            (torch.rand_like(limits, dtype=torch.float) * limits).long().clamp_min(0).minimum((limits - 1).clamp_min(0))
        )
