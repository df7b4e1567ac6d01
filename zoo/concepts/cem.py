"""Concept embedding models: each concept is a vector, so that an incomplete set of concepts costs no accuracy.

Espinosa Zarlenga, Barbiero, Ciravegna, Marra, Giannini, Diligenti, Shams, Precioso, Melacci, Weller, Lio, Jamnik:
"Concept Embedding Models: Beyond the Accuracy-Explainability Trade-Off", NeurIPS 2022, arXiv 2209.09056.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.embeddings import ConceptEmbedding, EmbeddingHead, without_embeddings
from zoo.concepts.layers.groups import complete_labels
from zoo.concepts.layers.losses import ConceptLoss
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_between, check_choice

RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 5.0},
)


@register(
    "cem",
    modality=("image", "table", "text"),
    paper="Espinosa Zarlenga et al., NeurIPS 2022",
    small=Small({"width": 3}, on="table"),
)
class CEM(SelfInterpretable):
    """Scores classes from concept embeddings, mixed from "present" and "absent" by the probability of the concept.

        c⁺, c⁻ = LeakyReLU(W_e h)            (B, k, m) each, h = backbone(x)
        p = sigmoid(s · [c⁺; c⁻])            (B, k), s shared by all concepts; a softmax in exclusive groups
        c = p c⁺ + (1 - p) c⁻                (B, k, m)
        score = W [c_1 ... c_k] + b          so concept i contributes exactly W_i · c_i

        loss = task + λ concepts, λ = 5 (CUB)

    RandInt (section 3.2): in training each concept takes its true value with probability 0.25, so that the model
    learns to benefit from interventions.

    The vector of a concept may carry other information than the concept (leakage); measure it before relying on the
    names.

    Differs from the published code: RandInt is drawn for every row (published: once per batch; select with `randint`)
    and for exclusive groups as a unit; the latent is the pooled feature, not 1000 ImageNet logits.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m, length of an embedding.
        randint: "sample" or "batch": draw RandInt for every row or once per batch.
        randint_probability: probability of taking the true value, in [0, 1].
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, an unknown choice or a number out of range.
    """

    reference = "mean"
    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {"concept_weights": "concept_loss.weights"}
    head: EmbeddingHead

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        width: int = 16,
        randint: str = "sample",
        randint_probability: float = 0.25,
        weighting: str = "none",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_choice(("sample", "batch"), randint=randint)
        check_at_least(1, width=width)
        check_between(0, 1, randint_probability=randint_probability)
        self.randint, self.randint_probability = randint, randint_probability
        self.annotated = AnnotatedConcepts(self.domain, "CEM")
        count = self.annotated.count
        self.concept_loss = ConceptLoss(count, self.annotated.exclusive, weighting)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, count, width, shared=True)
        self.head = EmbeddingHead(count, width, len(self.domain.classes))
        self.space = score_space(self.domain)

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

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training:
            truth = concepts.nan_to_num(0.0).to(evidence.activation)
            scores = self.readout(self.intervene(evidence, self._randint(concepts), truth))
        return {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "concepts": self.concept_loss(evidence.state["logit"], concepts),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def _randint(self, concepts: Tensor) -> Tensor:
        """(B, k) bool: concepts that take their true value; never one whose label is missing."""
        rows = len(concepts) if self.randint == "sample" else 1
        draw = torch.rand(rows, concepts.shape[1], device=concepts.device)
        for columns in self.annotated.exclusive:
            draw[:, columns] = draw[:, columns[:1]]
        return (draw < self.randint_probability) & complete_labels(concepts, self.annotated.exclusive)
