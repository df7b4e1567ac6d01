"""Concept bottleneck models: predict the concepts, then the label from the concepts alone.

Koh, Nguyen, Tang, Mussmann, Pierson, Kim, Liang: "Concept Bottleneck Models", ICML 2020, arXiv 2007.04612.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from zoo.concepts.layers.annotated import Annotated
from zoo.concepts.layers.groups import labelled
from zoo.concepts.layers.losses import check_weighting, concept_loss, probabilities
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

BOTTLENECKS = ("sigmoid", "logit", "hard")
TRAINING = ("joint", "sequential", "independent")
RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 1.0},
)


@register(
    "cbm",
    modality=("image", "table", "text"),
    paper="Koh et al., ICML 2020",
    small=Small(
        on="table",
        variants={
            "images": Small(on="image"),
            "logit": Small({"bottleneck": "logit"}),
            "hard": Small({"bottleneck": "hard"}),
            "mlp": Small({"hidden": [4]}),
        },
    ),
)
class CBM(Annotated, SelfInterpretable):
    """Scores classes from predicted, annotated concepts and from nothing else.

        a = concepts(backbone(x))          (B, k)   concept logits, one matrix product; p = sigmoid(a)
        v = p, a or 1[p > 0.5]             (B, k)   the activation: bottleneck "sigmoid", "logit" or "hard"
        score = W v + b                    (B, C)

        loss = task (cross-entropy) + λ concepts (binary cross-entropy, mean over rows and concepts)

    How it learns is `training` together with the stages (section 3 of the paper):
    - "joint": one stage; the task's gradient reaches the concepts through v.
    - "sequential": first backbone and concepts, then the head on the predicted v; the task never reaches the concepts.
    - "independent": likewise, but the head learns on the true concepts and meets predicted ones only afterwards.

    An intervention sets a concept to 0 or 1. With the bottleneck "logit" that is its 5th or 95th percentile on the
    training set, which the action `calibrate` measures (±5 before).

    How this differs from the official code: one matrix product instead of k layers; λ weighs a mean over concepts
    (the published 0.01 times a sum over 112 concepts is λ = 1.12 here); percentiles come from the training set
    instead of the test set; concepts may be exclusive (a softmax over their group) and labels may be missing.

    Args:
        domain: what inputs and outputs mean (`data.domain`); it names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        bottleneck: "sigmoid", "logit" or "hard" (straight-through gradient).
        training: "joint", "sequential" or "independent".
        hidden: widths of a ReLU head instead of the linear one. Such a score is no sum of concepts, so explanations
            then have no contributions.
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`; weights are absent /
            present of the training labels.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, or an unknown choice.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        bottleneck: str = "sigmoid",
        training: str = "joint",
        hidden: Sequence[int] = (),
        weighting: str = "none",
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "CBM")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        for name, value, known in (("bottleneck", bottleneck, BOTTLENECKS), ("training", training, TRAINING)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        self.bottleneck, self.how, self.weighting = bottleneck, training, check_weighting(weighting)
        count = len(domain.concepts)
        self.backbone = create_encoder(backbone, domain)
        self.concepts = nn.Linear(self.backbone.channels, count)
        sizes = [count, *hidden, len(domain.classes)]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())][:-1]
        self.head = nn.Sequential(*layers) if hidden else layers[0]
        self.additive = not hidden  # an MLP of concepts has no exact decomposition
        self.space = "logit" if domain.task == "classification" else "value"
        self.register_buffer("percentiles", torch.tensor([[-5.0], [5.0]]).repeat(1, count))  # 5th, 95th
        self.register_buffer("concept_weights", torch.ones(count))
        self.concept_cards = self.concept_metric_sets()

    def evidence(self, x: Tensor) -> Evidence:
        logits = self.concepts(self.backbone(x)).float()
        return Evidence(self.activate(logits), state={"logit": logits})

    def activate(self, logits: Tensor) -> Tensor:
        """What the head reads of concept logits (B, k)."""
        if self.bottleneck == "logit":
            return logits
        shares = probabilities(logits, self.exclusive)
        if self.bottleneck == "sigmoid":
            return shares
        hard = (shares > 0.5).to(shares)
        return hard + shares - shares.detach() if self.training else hard

    def readout(self, evidence: Evidence) -> Tensor:
        return super().readout(evidence) if self.additive else self.head(evidence.activation)

    def concept_probability(self, evidence: Evidence) -> Tensor:
        return probabilities(evidence.state["logit"], self.exclusive)

    def concept_values(self, concepts: Tensor) -> Tensor:
        low, high = self.percentiles
        return low + (high - low) * concepts if self.bottleneck == "logit" else concepts

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training and self.how != "joint":
            seen = evidence.activation.detach()
            if self.how == "independent":
                seen = torch.where(
                    labelled(concepts, self.exclusive), self.concept_values(concepts.nan_to_num(0.0)), seen
                )
            scores = self.readout(replace(evidence, activation=seen))
        return {
            "task": task_loss(scores, batch["target"], self.domain),
            "concepts": concept_loss(
                evidence.state["logit"], concepts, self.exclusive, self.weighting, self.concept_weights
            ),
        }

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Measures the 5th and 95th percentile of each concept's logit on the training set."""
        logits = [self.concepts(self.backbone(batch["input"])).float() for batch in projection_set]
        logits = projection_set.gather(torch.cat(logits))
        for row, share in enumerate((0.05, 0.95)):  # by nearest rank, as torch.quantile refuses large tensors
            self.percentiles[row] = logits.kthvalue(1 + round(share * (len(logits) - 1)), dim=0).values
