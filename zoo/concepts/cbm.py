"""Concept bottleneck models: predict concepts, then the label from the concepts alone.

Koh, Nguyen, Tang, Mussmann, Pierson, Kim, Liang: "Concept Bottleneck Models", ICML 2020, arXiv 2007.04612.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from zoo.concepts.layers.bottleneck import Bottleneck
from zoo.concepts.layers.losses import ConceptLoss
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_choice
from zoo.utils.functional import at_least_fp32

BOTTLENECKS = ("sigmoid", "logit", "hard")
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
class CBM(SelfInterpretable):
    """Scores classes from predicted, annotated concepts and from nothing else.

        a = concepts(backbone(x))          (B, k)   concept logits, one matrix product; p = sigmoid(a)
        v = p, a or 1[p > 0.5]             (B, k)   the activation: bottleneck "sigmoid", "logit" or "hard"
        score = W v + b                    (B, C)

        loss = task (cross-entropy) + λ concepts (binary cross-entropy, mean over rows and concepts)

    `training` and the stages of the recipe together select how the model learns (section 3 of the paper):
    - "joint": one stage; the gradient of the task reaches the concepts through v.
    - "sequential": backbone and concepts first, then the head on the predicted v; the gradient of the task never
      reaches the concepts.
    - "independent": as "sequential", but the head learns on the true concepts.

    An intervention sets a concept to 0 or 1. With the bottleneck "logit" it sets the 5th or 95th percentile of the
    concept's logit on the training set, which the action `calibrate` measures (-5 and 5 without it).

    Differs from the published code: one matrix product instead of k layers; λ weights a mean over concepts (the
    published 0.01 times a sum over 112 concepts is λ = 1.12 here); percentiles come from the training set instead of
    the test set; concepts may be exclusive (a softmax over their group) and labels may be missing.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        bottleneck: "sigmoid", "logit" or "hard" (with a straight-through gradient).
        training: "joint", "sequential" or "independent".
        hidden: widths of the hidden layers of a ReLU head, which replaces the linear one. The model is then not
            additive, and its explanations have no contributions.
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`; the weights are
            absent / present of the training labels.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, or an unknown choice.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {
        "percentiles": "annotated.percentiles",
        "concept_weights": "concept_loss.weights",
    }

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
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_choice(BOTTLENECKS, bottleneck=bottleneck)
        self.annotated = Bottleneck(self.domain, "CBM", bottleneck, training)
        self.concept_loss = ConceptLoss(self.annotated.count, self.annotated.exclusive, weighting)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = nn.Linear(self.backbone.channels, self.annotated.count)
        sizes = [self.annotated.count, *hidden, len(self.domain.classes)]
        layers = [layer for a, b in pairwise(sizes[:-1]) for layer in (nn.Linear(a, b), nn.ReLU())]
        last = in_target_units(nn.Linear(sizes[-2], sizes[-1]), self.domain)
        self.head = nn.Sequential(*layers, last) if hidden else last
        self.additive = not hidden  # an MLP of concepts has no exact decomposition
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        return self.annotated.evidence(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """Concept logits (B, k)."""
        return at_least_fp32(self.concepts(self.backbone(x)))

    def readout(self, evidence: Evidence) -> Tensor:
        return super().readout(evidence) if self.additive else self.head(evidence.activation)

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def on_fit_start(self) -> None:
        self.concept_loss.measure_weights(getattr(self.trainer, "datamodule", None))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            scores = self.readout(self.annotated.evidence_for_head(evidence, batch["concepts"]))
        return {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "concepts": self.concept_loss(evidence.state["logit"], batch["concepts"]),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Measures the 5th and 95th percentile of each concept's logit on the training set."""
        self.annotated.calibrate(projection_set, self.logits)
