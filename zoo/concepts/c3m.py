"""C3M: concept bottlenecks for text, whose concepts are negative, positive or unknown, with mixup of concepts.

Tan, Cheng, Wang, Yuan, Li, Liu: "Interpreting Pretrained Language Models via Concept Bottlenecks", PAKDD 2024,
arXiv 2311.05014.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import Annotated
from zoo.concepts.layers.groups import labelled
from zoo.concepts.layers.losses import probabilities
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(
        Stage("joint", epochs=20, train=("backbone", "concepts", "head")),
        Stage("calibrate"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 0.5},
)


@register(
    "c3m",
    modality=("text", "table", "image"),
    paper="Tan et al., PAKDD 2024",
    small=Small(variants={"softmax": Small({"bottleneck": "softmax"})}),
)
class C3M(Annotated, SelfInterpretable):
    """Scores a text from what it says of each aspect: every aspect is a group of exclusive concepts.

        h = mean over words of encoder(x)          (B, d)
        a = concepts(h)                            (B, k) scores; the concepts of an aspect share a softmax
        v = a (bottleneck "logit", as published) or the softmax of each aspect ("softmax")
        score = W v + b

        loss = task + 0.5 concepts (cross-entropy of each aspect, mean over aspects that are labelled)

    Mixup of concepts: in training h becomes λ h + (1 - λ) h', of the same batch in another order, λ ~ Beta(0.4, 0.4)
    once a batch, and both losses are mixed alike.

    An intervention answers an aspect: with the bottleneck "logit" the 5th or 95th percentile of each score on the
    training set, which the action `calibrate` measures (±5 before).

    How this differs from the official code: padding does not enter the mean (there: all 128 positions; choose with
    the encoder's `pooling`); the concept loss is a cross-entropy of scores. `concept_loss="sigmoid"` is the published
    cross-entropy *of sigmoids*, which cannot fall below log(1 + 2/e) = 0.551 for three concepts.

    Args:
        domain: what inputs and outputs mean (`data.domain`); all its concepts are in exclusive groups.
        backbone: see `zoo.networks.encoders.create_encoder`.
        bottleneck: "logit" or "softmax".
        concept_loss: "softmax" or "sigmoid".
        training: "joint"; "sequential": the head learns on predicted, "independent": on true concepts, and in both
            the task never reaches the concepts.
        mixup: parameter of the Beta distribution; 0 for none.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: concepts outside of exclusive groups, or an unknown choice.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "transformer",
        bottleneck: str = "logit",
        concept_loss: str = "softmax",
        training: str = "joint",
        mixup: float = 0.4,
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "C3M")
        loose = set(domain.concepts) - {c for g in domain.exclusive for c in domain.concept_groups[g]}
        if loose:
            raise ValueError(
                f"C3M needs every concept in an exclusive group, such as negative, positive and unknown of an aspect; "
                f"'{min(loose)}' is in none."
            )
        for name, value, known in (
            ("bottleneck", bottleneck, ("logit", "softmax")),
            ("concept_loss", concept_loss, ("softmax", "sigmoid")),
            ("training", training, ("joint", "sequential", "independent")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        if mixup < 0:
            raise ValueError(f"mixup must be at least 0; got {mixup}.")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.bottleneck, self.kind, self.how, self.mixup = bottleneck, concept_loss, training, mixup
        count = len(domain.concepts)
        self.backbone = create_encoder(backbone, domain)
        self.concepts = nn.Linear(self.backbone.channels, count)
        self.head = nn.Linear(count, len(domain.classes))
        self.space = "logit" if domain.task == "classification" else "value"
        self.register_buffer("percentiles", torch.tensor([[-5.0], [5.0]]).repeat(1, count))  # 5th, 95th
        self.concept_cards = self.concept_metric_sets()

    def evidence(self, x: Tensor) -> Evidence:
        h, state = self.backbone(x), {}
        if self.training and self.mixup:
            share = torch.distributions.Beta(self.mixup, self.mixup).sample().to(h)
            partner = torch.randperm(len(h), device=h.device)
            h, state = mix(h, share, partner), {"share": share.expand(len(h)), "partner": partner}
        logits = self.concepts(h).float()
        seen = logits if self.bottleneck == "logit" else probabilities(logits, self.exclusive)
        return Evidence(seen, state={"logit": logits, **state})

    def concept_probability(self, evidence: Evidence) -> Tensor:
        return probabilities(evidence.state["logit"], self.exclusive)

    def concept_values(self, concepts: Tensor) -> Tensor:
        low, high = self.percentiles
        return low + (high - low) * concepts if self.bottleneck == "logit" else concepts

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        labels = (batch["target"], batch["concepts"])
        terms = self._terms(scores, evidence, *labels)
        if "partner" not in evidence.state:
            return terms
        share, partner = evidence.state["share"][0], evidence.state["partner"]
        others = self._terms(scores, evidence, *(t[partner] for t in labels))
        return {name: torch.lerp(others[name], term, share) for name, term in terms.items()}

    def _terms(self, scores: Tensor, evidence: Evidence, target: Tensor, concepts: Tensor) -> dict[str, Tensor]:
        if self.training and self.how != "joint":
            seen = evidence.activation.detach()
            if self.how == "independent":
                seen = torch.where(
                    labelled(concepts, self.exclusive), self.concept_values(concepts.nan_to_num(0.0)), seen
                )
            scores = self.readout(replace(evidence, activation=seen))
        return {
            "task": task_loss(scores, target, self.domain),
            "concepts": aspect_loss(evidence.state["logit"], concepts, self.exclusive, self.kind),
        }

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Measures the 5th and 95th percentile of each concept's score on the training set."""
        logits = projection_set.gather(
            torch.cat([self.concepts(self.backbone(b["input"])).float() for b in projection_set])
        )
        for row, share in enumerate((0.05, 0.95)):
            self.percentiles[row] = logits.kthvalue(1 + round(share * (len(logits) - 1)), dim=0).values


def mix(h: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """λ h + (1 - λ) h[partner] of pooled vectors (B, d)."""
    return torch.lerp(h[partner], h, share)


def aspect_loss(logits: Tensor, concepts: Tensor, aspects: Sequence[Sequence[int]], kind: str = "softmax") -> Tensor:
    """Mean cross-entropy of the aspects that are labelled.

    Args:
        logits: (B, k).
        concepts: (B, k), one-hot within each aspect, or NaN.
        aspects: columns of each.
        kind: "softmax" of the scores, or of their sigmoids ("sigmoid", as published).
    """
    total, count = logits.new_zeros(()), logits.new_zeros(())
    scores = logits if kind == "softmax" else logits.sigmoid()
    for columns in aspects:
        labels = concepts[:, columns]
        known = labels.isfinite().all(1)
        loss = F.cross_entropy(scores[:, columns], labels.nan_to_num(0.0), reduction="none")
        total, count = total + (loss * known).sum(), count + known.sum()
    return total / count.clamp_min(1)
