"""Concepts as Gaussian embeddings, and classification by distance (ProbCBM).

Kim, Jung, Park, Kim, Yoon: "Probabilistic Concept Bottleneck Models", ICML 2023, arXiv 2306.01574, section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        """Anchors (2, k, d) of unit length: absent, present."""
        return F.normalize(self.anchor.float(), dim=2)

    def presence(self, z: Tensor) -> Tensor:
        """Probability (..., k) of embeddings (..., k, d), from their distances to both anchors."""
        absent, present = self.anchors()
        gap = _distance(z, absent) - _distance(z, present)
        return torch.sigmoid(self.log_scale.exp() * gap)  # equals the softmax over both anchors


class AttentionPooling(nn.Module):
    """Pools the cells (B, k, d, L) of every concept by its own two-layer attention to (B, k, d)."""

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
    return ((z - anchor).square().sum(-1) + 1e-12).sqrt()
