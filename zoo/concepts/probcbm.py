"""Probabilistic concept bottleneck models: concepts with uncertainty.

Kim, Jung, Park, Kim, Yoon: "Probabilistic Concept Bottleneck Models", ICML 2023, arXiv 2306.01574.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.probabilistic import DistanceHead, ProbabilisticConcepts
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_at_least, check_between
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(
        Stage("concepts", epochs=50, train=("backbone", "concepts")),
        Stage("classes", epochs=20, train=("head",)),
    ),
    lr={"backbone": 1e-3, "concepts": 1e-2, "head": 1e-2},
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 1.0, "kl": 5e-5},
)


@register(
    "probcbm",
    modality="image",
    paper="Kim et al., ICML 2023",
    small=Small({"width": 4, "class_width": 6, "samples": 3}),
)
class ProbCBM(SelfInterpretable):
    """Embeds each concept as a Gaussian, whose variance is the concept's uncertainty, and classifies by distances.

        f = ReLU(BN(conv1x1(backbone(x))))           (B, k, d, L), L cells
        μ = normalise(LayerNorm(A mean f + sigmoid(V a)))     (B, k, d), a = attention pooling of f
        log σ² = U a' + T mean f, at most 10                  (B, k, d), a' = another attention pooling
        z ~ N(μ, σ²); S samples in training, z = μ in evaluation
        p = mean over z of softmax(-α |z - anchor|) over the absent and the present anchor     (B, k)
        score_c = -s RMS(W [z_1 ... z_k] - v_c)               v_c a learned vector per class

        loss = concepts (binary cross-entropy of p) + 5e-5 KL(N(μ, σ²) | N(0, 1)) + task (cross-entropy)

    Each concept has its own linear layers (A, V, U, T), attention and LayerNorm. Binary cross-entropy and KL are means
    over rows and concepts.

    Two stages: first the concepts; then the classes, on embeddings each of which is replaced by its true anchor with
    probability 0.5. The gradient of the task does not reach the concepts. An intervention replaces the embedding by the
    anchor.

    The score is a distance and not a sum over concepts, so explanations have no contributions. Their details are the
    probability of each concept, its "uncertainty" (geometric mean of σ²) and the exact score if it were absent or
    present.

    Differs from the published code: attention and heads of all concepts are batched products; both stages use one
    Adam (published: AdamP with warm-up); exclusive groups are not supported.

    Args:
        domain: what inputs and outputs mean (`data.domain`); images with annotated concepts.
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        width: d, length of a concept embedding.
        class_width: length of a class vector.
        samples: S, in training.
        anchor_probability: probability of replacing an embedding by its true anchor in training, in [0, 1].
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: inputs other than images, a regression task, a domain without concepts or with exclusive groups, or
            a number out of range.
    """

    additive = False
    default_recipe = RECIPE
    concepts: ProbabilisticConcepts

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet18",
        width: int = 16,
        class_width: int = 128,
        samples: int = 50,
        anchor_probability: float = 0.5,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        domain = self.domain
        if not isinstance(domain, ImageDomain) or domain.exclusive or domain.task != "classification":
            raise ValueError(
                "ProbCBM classifies images with binary concepts; got the modality "
                f"'{domain.modality}', the task '{domain.task}' and {len(domain.exclusive)} exclusive concept groups."
            )
        check_at_least(1, width=width, class_width=class_width, samples=samples)
        check_between(0, 1, anchor_probability=anchor_probability)
        self.samples, self.anchor_probability = samples, anchor_probability
        self.annotated = AnnotatedConcepts(domain, "ProbCBM")
        count = self.annotated.count
        self.backbone = create_backbone(backbone, domain.channels)
        self.concepts = ProbabilisticConcepts(self.backbone.channels, count, width)
        self.head = DistanceHead(count * width, class_width, len(domain.classes))

    def evidence(self, x: Tensor) -> Evidence:
        mean, log_variance = self.concepts(self.backbone(x))
        mean, log_variance = at_least_fp32(mean), at_least_fp32(log_variance)
        return Evidence(self.concepts.presence(mean), state={"embedding": mean, "log_variance": log_variance})

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.state["embedding"].flatten(1))

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """Replaces embeddings by anchors of variance 0, interpolated for values between 0 and 1."""
        absent, present = self.concepts.anchors()
        anchor = torch.lerp(absent, present, values[..., None])  # (B, k, d)
        mean, log_variance = evidence.state["embedding"], evidence.state["log_variance"]
        state = {
            "embedding": torch.where(mask[..., None], anchor, mean),
            "log_variance": log_variance.masked_fill(mask[..., None], -torch.inf),
        }
        return replace(evidence, activation=torch.where(mask, values, evidence.activation), state=state)

    def uncertainty(self, evidence: Evidence) -> Tensor:
        """Geometric mean (B, k) of the variances of each concept's embedding (section 3.4)."""
        return evidence.state["log_variance"].mean(2).exp()

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {**self.annotated.details(self, evidence, target), "uncertainty": self.uncertainty(evidence)}

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        mean, log_variance = evidence.state["embedding"], evidence.state["log_variance"]
        concepts, presence = batch["concepts"], evidence.activation
        if self.training:
            deviation = (0.5 * log_variance).exp()
            noise = torch.randn(self.samples, *mean.shape, device=mean.device)
            drawn = mean + deviation * noise  # (S, B, k, d)
            presence = self.concepts.presence(drawn).mean(0)
            scores = self._sampled_scores(drawn.detach(), concepts)
        known = concepts.isfinite()
        terms = F.binary_cross_entropy(presence.clamp(1e-6, 1 - 1e-6), concepts.nan_to_num(0.0), reduction="none")
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(2)
        return {
            "task": F.cross_entropy(scores, batch["target"], batch.get("class_weights")),
            "concepts": (terms * known).sum() / known.sum().clamp_min(1),
            "kl": kl.mean(),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def _sampled_scores(self, drawn: Tensor, concepts: Tensor) -> Tensor:
        """Log of the class probabilities (B, C), mean over samples (S, B, k, d), some replaced by true anchors."""
        absent, present = self.concepts.anchors()
        truth = torch.where(concepts[..., None] > 0.5, present, absent).detach()
        chosen = (torch.rand_like(concepts) < self.anchor_probability) & concepts.isfinite()
        scores = self.head(torch.where(chosen[..., None], truth, drawn).flatten(2))  # (S, B, C)
        return scores.log_softmax(2).logsumexp(0) - torch.log(torch.tensor(float(len(drawn)), device=drawn.device))
