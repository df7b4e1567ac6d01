"""Label-free concept bottleneck models: concepts from phrases and an image-text encoder, without annotation.

Oikarinen, Das, Nguyen, Weng: "Label-Free Concept Bottleneck Models", ICLR 2023, arXiv 2304.06129.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.concepts.layers.projection import collect, fit_projection, random_directions
from zoo.concepts.layers.score_file import align, columns_of, read_scores, refuse_scores
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.sparse_linear import saga
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(
        Stage("project"),
        Stage("sparsify"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "labelfree",
    modality=("image", "table", "text"),
    paper="Oikarinen et al., ICLR 2023",
    small=Small(
        {"scores": "annotations", "min_similarity": -1.0, "epochs": 5},
        on="table",
        variants={"random": Small({"scores": "random"})},
    ),
)
class LabelFreeCBM(SelfInterpretable):
    """Converts a frozen backbone into a bottleneck of named concepts with a sparse head.

        P                                     (N, M)   given scores of the M concepts for the N training items
        q = W_c h, h = backbone(x)            (B, M)   W_c maximises the mean over concepts of cos(q³, P³), columns
                                                       centred over the batch, then cubed (eq. 2)
        z = (q - mean) / std                  (B, M)   over the training set: the activation
        score = W z + b                                sparse: cross-entropy + λ (0.99 |W|₁ + 0.005 |W|²)

    A concept is dropped, so that its activation is 0, if the mean of its five highest scores is at most `cutoff`, or if
    its cubed cosine on held-out items is at most `min_similarity` (section 3.1).

    Recipe: the actions `project` and `sparsify`, then an epoch that only measures. Nothing needs gradients through the
    backbone. These concepts have no ground truth, so an intervention is hypothetical.

    Differs from the published code: the concepts to keep and the step to stop at are chosen on held-out *training*
    items (published: on the evaluation split). `scores="random"` is the control with random directions; compare with it
    to see how much of the accuracy is due to the concepts.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        scores: source of P: a file of `train.py score-concepts`, "annotations" (the annotated concepts of the data, for
            comparison), or "random" (named by `concepts`).
        concepts: names; by default those of the file or of the data.
        backbone: see `zoo.networks.encoders.create_encoder`; frozen.
        cutoff: lower bound of the mean of the five highest scores of a concept.
        min_similarity: lower bound of the cubed cosine, in [-1, 1].
        lam: λ.
        epochs: maximum number of epochs of the solver of the head.
        recipe: see `zoo.training.recipe.Recipe`.

    Raises:
        ValueError: no concepts, or a regression task.
        FileNotFoundError: there is no file of scores.
    """

    default_recipe = RECIPE
    mean: Tensor
    std: Tensor
    alive: Tensor
    similarity: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        scores: str,
        concepts: Sequence[str] = (),
        backbone: str | dict[str, Any] = "resnet50",
        cutoff: float = 0.0,
        min_similarity: float = 0.45,
        lam: float = 7e-4,
        epochs: int = 1000,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "LabelFreeCBM")
        if not concepts:
            concepts = self.domain.concepts if scores in ("annotations", "random") else read_scores(scores)[1]
        if not concepts:
            raise ValueError("LabelFreeCBM needs names of concepts: give `concepts`, or data with annotated ones.")
        self.names = list(concepts)
        self.hparams["concepts"] = self.names  # so that a checkpoint needs no file
        self.scores, self.cutoff, self.min_similarity = scores, cutoff, min_similarity
        self.lam, self.epochs = lam, epochs
        self.backbone = create_encoder(backbone, self.domain)
        count = len(self.names)
        self.concepts = nn.Linear(self.backbone.channels, count, bias=False)
        self.head = nn.Linear(count, len(self.domain.classes))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))
        self.register_buffer("similarity", torch.zeros(count))

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        refuse_scores(arguments, "scores")
        return super().offline_arguments(arguments)

    def evidence(self, x: Tensor) -> Evidence:
        return Evidence(self.standardised(self.backbone(x)))

    def standardised(self, features: Tensor) -> Tensor:
        """Concept scores (B, M) of features (B, d), standardised on the training set; 0 if the concept is dropped."""
        return (at_least_fp32(self.concepts(features)) - self.mean) / self.std * self.alive

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}

    def units(self) -> tuple[Unit, ...]:
        supervision = "random control" if self.scores == "random" else "projected"
        units = []
        for name, alive, similarity in zip(self.names, self.alive.tolist(), self.similarity.tolist(), strict=True):
            source = {"supervision": supervision, "similarity": round(similarity, 4)}
            units.append(Unit(name, "concept", source=source if alive else {**source, "dropped": True}))
        return tuple(units)

    @action
    def project(self, projection_set: ProjectionSet) -> None:
        """Fits the directions of the concepts and drops the concepts that cannot be projected."""
        if self.scores == "random":
            directions = random_directions(self.concepts.weight)
            (features,) = collect(self.backbone, projection_set)
        else:
            features, scores = self.features_and_scores(projection_set)
            directions, similarity = fit_projection(features, scores)
            strongest = scores.topk(min(5, len(scores)), 0).values.mean(0)
            self.similarity.copy_(similarity)
            self.alive.copy_((strongest > self.cutoff) & (similarity > self.min_similarity))
            if not self.alive.any():
                raise ValueError(
                    f"all {len(self.names)} concepts were dropped: the highest similarity is {similarity.max():.3f} "
                    f"(min_similarity {self.min_similarity}), the highest score {strongest.max():.3f} (cutoff "
                    f"{self.cutoff}). Lower min_similarity or cutoff, or choose other concepts."
                )
        self.concepts.weight.copy_(directions)
        q = features @ directions.T
        self.mean.copy_(q.mean(0))
        self.std.copy_(q.std(0).clamp_min(1e-6))

    def features_and_scores(self, projection_set: ProjectionSet) -> tuple[Tensor, Tensor]:
        """Features (N, d) and given scores P (N, M) of the training set."""
        if self.scores == "annotations":
            features, concepts = collect(self.backbone, projection_set, "concepts")
            return features, concepts.nan_to_num(0.5)
        (features,) = collect(self.backbone, projection_set)
        scores, names, items = read_scores(self.scores)
        columns = columns_of(self.names, names, self.scores)
        return features, align(scores, items, projection_set, self.scores)[:, columns].to(features)

    @action
    def sparsify(self, projection_set: ProjectionSet) -> None:
        """Fits the sparse head on the standardised concepts."""
        features, target = collect(self.backbone, projection_set, "target")
        found = saga(self.standardised(features), target, len(self.domain.classes), self.lam, epochs=self.epochs)
        self.head.weight.copy_(found.weight)
        self.head.bias.copy_(found.bias)
