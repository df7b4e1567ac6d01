"""Concepts as Gaussian embeddings, and classification by distance (ProbCBM).

Kim, Jung, Park, Kim, Yoon: "Probabilistic Concept Bottleneck Models", ICML 2023, arXiv 2306.01574, section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32

EPSILON = 1e-6  # added to squared distances to anchors, as in the published code


class ProbabilisticConcepts(nn.Module):
    """Maps features (B, C, h, w) to the means (of unit length) and log variances (B, k, d) of all concepts.

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
        self.pooled, self.residual, self.variance, self.pooled_variance = (
            ConceptLinear(concepts, width) for _ in range(4)
        )
        self.norm = ConceptNorm(concepts, width)
        self.anchor = nn.Parameter(torch.randn(2, concepts, width) * width**-0.5)  # absent, present
        self.log_scale = nn.Parameter(torch.tensor(5.0).log())

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        cells = self.project(maps).flatten(2).unflatten(1, (self.concepts, self.width))  # (B, k, d, L)
        average = cells.mean(3)
        attended = self.residual(self.mean_attention(cells)).sigmoid()
        mean = F.normalize(self.norm(self.pooled(average) + attended), dim=2)
        log_variance = self.variance(self.variance_attention(cells)) + self.pooled_variance(average)
        return mean, log_variance.clamp(max=10.0)

    def anchors(self) -> Tensor:
        """Anchors (2, k, d) of unit length: absent, present."""
        return F.normalize(at_least_fp32(self.anchor), dim=2)

    def presence(self, z: Tensor) -> Tensor:
        """Probability (..., k) of embeddings (..., k, d), from their distances to both anchors."""
        absent, present = self.anchors()
        gap = _distance(z, absent) - _distance(z, present)
        return torch.sigmoid(self.log_scale.exp() * gap)  # equals the softmax over both anchors


class ConceptLinear(nn.Module):
    """A linear layer for each concept: (B, k, d) -> (B, k, d)."""

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(concepts, width, width))  # (k, out, in)
        self.bias = nn.Parameter(torch.zeros(concepts, width))
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bki,koi->bko", x, self.weight) + self.bias


class ConceptNorm(nn.Module):
    """A LayerNorm for each concept: (B, k, d) -> (B, k, d)."""

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(concepts, width)), nn.Parameter(torch.zeros(concepts, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class AttentionPooling(nn.Module):
    """Pools the cells (B, k, d, L) of every concept by its own two-layer attention to (B, k, d)."""

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(concepts, width, width))
        self.second = nn.Parameter(torch.empty(concepts, 1, width))
        for weight in (*self.first, *self.second):
            nn.init.xavier_uniform_(weight)

    def forward(self, cells: Tensor) -> Tensor:
        hidden = torch.einsum("bkdl,khd->bkhl", cells, self.first).tanh()
        weight = torch.einsum("bkhl,koh->bkl", hidden, self.second).softmax(2)
        return torch.einsum("bkdl,bkl->bkd", cells, weight)


class DistanceHead(nn.Module):
    """Scores (..., C) of vectors (..., n): -s times the root mean square distance to the vector of each class.

    Args:
        features: n.
        width: length of the class vectors.
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
    return ((z - anchor).square().sum(-1) + EPSILON).sqrt()
