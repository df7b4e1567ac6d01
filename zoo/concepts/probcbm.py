"""Probabilistic concept bottleneck models: every concept with its uncertainty.

Kim, Jung, Park, Kim, Yoon: "Probabilistic Concept Bottleneck Models", ICML 2023, arXiv 2306.01574.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import Annotated
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

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
class ProbCBM(Annotated, SelfInterpretable):
    """Embeds each concept as a Gaussian and classifies by distances, so that a doubtful concept is known as doubtful.

        f = ReLU(BN(conv1x1(backbone(x))))           (B, k, d, L), L cells
        μ = normalise(LayerNorm(mean f + sigmoid(V a)))       (B, k, d), a = attention pooling of f
        log σ² = U a', at most 10                             (B, k, d), a' = another attention pooling
        z ~ N(μ, σ²); S samples in training, z = μ in evaluation
        p = mean over z of softmax(-α |z - anchor|) over the absent and the present anchor     (B, k)
        score_c = -s RMS(W [z_1 ... z_k] - v_c)               v_c a learned vector of each class

        loss = concepts (binary cross-entropy of p) + 5e-5 KL(N(μ, σ²) | N(0, 1)) + task (cross-entropy)

    Two stages: the concepts; then the classes, on embeddings of which each is replaced by its true anchor with
    probability 0.5. The task never reaches the concepts. An intervention puts the anchor in place of the embedding.

    The score is a distance and no sum of concepts, so explanations have no contributions; they tell of each concept
    its probability, its "uncertainty" (geometric mean of σ²) and the exact score were it absent or present.

    How this differs from the official code: attention and heads of all concepts are batched products; concept and
    class stage share one Adam (there: AdamP with warm-up); exclusive groups are not supported.

    Args:
        domain: what inputs and outputs mean (`data.domain`); images with annotated concepts.
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        width: d, length of a concept's embedding.
        class_width: length of a class's vector.
        samples: S.
        anchor_probability: of replacing an embedding by its true anchor in training, in [0, 1].
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: inputs that are no images, a domain without concepts or with exclusive ones, a number out of range.
    """

    additive = False
    default_recipe = RECIPE

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
        domain = self.require_concepts(domain, "ProbCBM")
        if not isinstance(domain, ImageDomain) or domain.exclusive or domain.task != "classification":
            raise ValueError(
                "ProbCBM classifies images with binary concepts; got the modality "
                f"'{domain.modality}', the task '{domain.task}' and {len(domain.exclusive)} exclusive concept groups."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if min(width, class_width, samples) < 1 or not 0 <= anchor_probability <= 1:
            raise ValueError(
                "expected width, class_width, samples >= 1 and anchor_probability in [0, 1]; got "
                f"{width}, {class_width}, {samples} and {anchor_probability}."
            )
        self.samples, self.anchor_probability = samples, anchor_probability
        count = len(domain.concepts)
        self.backbone = create_backbone(backbone, domain.channels)
        self.concepts = ProbabilisticConcepts(self.backbone.channels, count, width)
        self.head = DistanceHead(count * width, class_width, len(domain.classes))
        self.concept_cards = self.concept_metric_sets()

    def evidence(self, x: Tensor) -> Evidence:
        mean, log_variance = self.concepts(self.backbone(x))
        mean, log_variance = mean.float(), log_variance.float()
        return Evidence(self.concepts.presence(mean), state={"embedding": mean, "log_variance": log_variance})

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.state["embedding"].flatten(1))

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """Puts anchors (between the two, for values between 0 and 1) in place of embeddings, with no variance left."""
        absent, present = self.concepts.anchors()
        anchor = torch.lerp(absent, present, values[..., None])  # (B, k, d)
        mean, log_variance = evidence.state["embedding"], evidence.state["log_variance"]
        state = {
            "embedding": torch.where(mask[..., None], anchor, mean),
            "log_variance": log_variance.masked_fill(mask[..., None], -torch.inf),
        }
        return replace(evidence, activation=torch.where(mask, values, evidence.activation), state=state)

    def slopes(self, evidence: Evidence) -> None:
        """None, as scores are distances."""
        return

    def uncertainty(self, evidence: Evidence) -> Tensor:
        """(B, k) geometric mean of the variances of each concept's embedding (section 3.4)."""
        return evidence.state["log_variance"].mean(2).exp()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {**super().details(evidence, target), "uncertainty": self.uncertainty(evidence)}

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
            "task": F.cross_entropy(scores, batch["target"]),
            "concepts": (terms * known).sum() / known.sum().clamp_min(1),
            "kl": kl.sum(1).mean(),
        }

    def _sampled_scores(self, drawn: Tensor, concepts: Tensor) -> Tensor:
        """Log of the mean class probability over samples (S, B, k, d), some embeddings replaced by true anchors."""
        absent, present = self.concepts.anchors()
        truth = torch.where(concepts[..., None] > 0.5, present, absent).detach()
        chosen = (torch.rand_like(concepts) < self.anchor_probability) & concepts.isfinite()
        scores = self.head(torch.where(chosen[..., None], truth, drawn).flatten(2))  # (S, B, C)
        return scores.log_softmax(2).logsumexp(0) - torch.log(torch.tensor(float(len(drawn)), device=drawn.device))


class ProbabilisticConcepts(nn.Module):
    """Feature maps (B, C, h, w) to the means, of unit length, and log variances (B, k, d) of all concepts at once.

    Args:
        channels: C.
        concepts: k.
        width: d.
    """

    def __init__(self, channels: int, concepts: int, width: int) -> None:
        super().__init__()
        self.concepts, self.width = concepts, width
        self.project = nn.Sequential(
            nn.Conv2d(channels, concepts * width, 1), nn.BatchNorm2d(concepts * width), nn.ReLU()
        )
        self.mean_attention, self.variance_attention = (AttentionPooling(concepts, width) for _ in range(2))
        self.residual, self.variance = (
            nn.Parameter(torch.randn(concepts, width, width) * width**-0.5) for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.anchor = nn.Parameter(torch.randn(2, concepts, width))  # absent, present
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        cells = self.project(maps).flatten(2).unflatten(1, (self.concepts, self.width))  # (B, k, d, L)
        attended = torch.einsum("bkd,kde->bke", self.mean_attention(cells), self.residual)
        mean = F.normalize(self.norm(cells.mean(3) + attended.sigmoid()), dim=2)
        log_variance = torch.einsum("bkd,kde->bke", self.variance_attention(cells), self.variance)
        return mean, log_variance.clamp(max=10.0)

    def anchors(self) -> Tensor:
        """(2, k, d) of unit length: absent, present."""
        return F.normalize(self.anchor.float(), dim=2)

    def presence(self, z: Tensor) -> Tensor:
        """Probability (..., k) of embeddings (..., k, d), from the distances to the two anchors."""
        absent, present = self.anchors()
        gap = _distance(z, absent) - _distance(z, present)
        return torch.sigmoid(self.log_scale.exp() * gap)  # the softmax over two


class AttentionPooling(nn.Module):
    """Pools the cells (B, k, d, L) of every concept by a two-layer attention of its own to (B, k, d)."""

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        hidden = max(width // 2, 1)
        self.first = nn.Parameter(torch.randn(concepts, hidden, width) * width**-0.5)
        self.second = nn.Parameter(torch.randn(concepts, hidden) * hidden**-0.5)

    def forward(self, cells: Tensor) -> Tensor:
        hidden = torch.einsum("bkdl,khd->bkhl", cells, self.first).tanh()
        weight = torch.einsum("bkhl,kh->bkl", hidden, self.second).softmax(2)
        return torch.einsum("bkdl,bkl->bkd", cells, weight)


class DistanceHead(nn.Module):
    """Scores (..., C) of vectors (..., n): -s times the root mean square distance to each class's vector.

    Args:
        features: n.
        width: of the space that classes live in.
        classes: C.
    """

    def __init__(self, features: int, width: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.vectors = nn.Parameter(torch.randn(classes, width))
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())

    def forward(self, embeddings: Tensor) -> Tensor:
        point = self.project(embeddings)
        squares = point.square().sum(-1, keepdim=True) - 2 * point @ self.vectors.T + self.vectors.square().sum(1)
        return -self.log_scale.exp() * (squares.clamp_min(1e-12) / point.shape[-1]).sqrt()


def _distance(z: Tensor, anchor: Tensor) -> Tensor:
    return ((z - anchor).square().sum(-1) + 1e-12).sqrt()
