"""C3M: concept bottlenecks for text with concepts such as negative, positive and unknown, and mixup of concepts.

Tan, Cheng, Wang, Yuan, Li, Liu: "Interpreting Pretrained Language Models via Concept Bottlenecks", PAKDD 2024,
arXiv 2311.05014.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.bottleneck import Bottleneck
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.functional import at_least_fp32

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
class C3M(SelfInterpretable):
    """Scores a text from the concepts of each aspect; every aspect is a group of exclusive concepts.

        h = mean over words of encoder(x)          (B, d)
        a = concepts(h)                            (B, k) logits; the concepts of an aspect share a softmax
        v = a (bottleneck "logit", as published) or the softmax of each aspect ("softmax")
        score = W v + b

        loss = task + 0.5 concepts (cross-entropy of each aspect, mean over aspects that are labelled)

    Mixup of concepts: in training h becomes λ h + (1 - λ) h', where h' is the batch in another order and
    λ ~ Beta(0.4, 0.4) is drawn once per batch; both losses are mixed with the same λ.

    An intervention sets an aspect. With the bottleneck "logit" it sets the 5th or 95th percentile of each logit on the
    training set, which the action `calibrate` measures (-5 and 5 without it).

    Differs from the published code: padding is excluded from the mean (published: all 128 positions; select with the
    encoder's `pooling`); the concept loss is a cross-entropy of logits. `concept_loss="sigmoid"` is the published
    cross-entropy *of sigmoids*, which cannot fall below log(1 + 2/e) = 0.551 for three concepts.

    Args:
        domain: what inputs and outputs mean (`data.domain`); every concept must be in an exclusive group.
        backbone: see `zoo.networks.encoders.create_encoder`.
        bottleneck: "logit" or "softmax".
        concept_loss: "softmax" or "sigmoid".
        training: "joint", "sequential" (the head learns on predicted concepts) or "independent" (on true ones); in the
            latter two the gradient of the task does not reach the concepts.
        mixup: parameter of the Beta distribution; 0 disables mixup.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: concepts outside of exclusive groups, an unknown choice or a negative mixup.
    """

    default_recipe = RECIPE
    weighs_classes = False
    former_names: ClassVar[Mapping[str, str]] = {"percentiles": "annotated.percentiles"}

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
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_choice(("logit", "softmax"), bottleneck=bottleneck)
        check_choice(("softmax", "sigmoid"), concept_loss=concept_loss)
        check_at_least(0, mixup=mixup)
        self.annotated = Bottleneck(self.domain, "C3M", bottleneck, training)
        grouped = {c for group in self.domain.exclusive for c in self.domain.concept_groups[group]}
        if ungrouped := set(self.domain.concepts) - grouped:
            raise ValueError(
                f"C3M needs every concept in an exclusive group, such as negative, positive and unknown of an aspect; "
                f"'{min(ungrouped)}' is in no exclusive group."
            )
        self.kind, self.mixup = concept_loss, mixup
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = nn.Linear(self.backbone.channels, self.annotated.count)
        self.head = nn.Linear(self.annotated.count, len(self.domain.classes))
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        h, state = self.backbone(x), {}
        if self.training and self.mixup:
            share = torch.distributions.Beta(self.mixup, self.mixup).sample().to(h)
            partner = torch.randperm(len(h), device=h.device)
            h, state = mix(h, share, partner), {"share": share.expand(len(h)), "partner": partner}
        found = self.annotated.evidence(at_least_fp32(self.concepts(h)))
        return Evidence(found.activation, state={**found.state, **state})

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        labels = (batch["target"], batch["concepts"])
        terms = self._terms(scores, evidence, *labels)
        if "partner" not in evidence.state:
            return terms
        share, partner = evidence.state["share"][0], evidence.state["partner"]
        others = self._terms(scores, evidence, *(t[partner] for t in labels))
        return {name: torch.lerp(others[name], term, share) for name, term in terms.items()}

    def _terms(self, scores: Tensor, evidence: Evidence, target: Tensor, concepts: Tensor) -> dict[str, Tensor]:
        if self.training:
            scores = self.readout(self.annotated.evidence_for_head(evidence, concepts))
        return {
            "task": task_loss(scores, target, self.domain),
            "concepts": aspect_loss(evidence.state["logit"], concepts, self.annotated.exclusive, self.kind),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Measures the 5th and 95th percentile of each concept's logit on the training set."""
        self.annotated.calibrate(projection_set, lambda x: self.concepts(self.backbone(x)))


def mix(h: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Mixup of pooled vectors (B, d): λ h + (1 - λ) h[partner], λ the `share`."""
    return torch.lerp(h[partner], h, share)


def aspect_loss(logits: Tensor, concepts: Tensor, aspects: Sequence[Sequence[int]], kind: str = "softmax") -> Tensor:
    """Mean cross-entropy over the labelled aspects of all rows.

    Args:
        logits: (B, k).
        concepts: (B, k), one-hot within each aspect, or NaN.
        aspects: columns of each aspect.
        kind: "softmax" (of the logits) or "sigmoid" (a softmax of their sigmoids, as published).
    """
    total, count = logits.new_zeros(()), logits.new_zeros(())
    scores = logits if kind == "softmax" else logits.sigmoid()
    for columns in aspects:
        labels = concepts[:, columns]
        known = labels.isfinite().all(1)
        loss = F.cross_entropy(scores[:, columns], labels.nan_to_num(0.0), reduction="none")
        total, count = total + (loss * known).sum(), count + known.sum()
    return total / count.clamp_min(1)
