"""Landmarks: embeddings of typical series, the nearest of which is named with each prediction."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.training.projection_set import ProjectionSet

TEMPERATURE = 0.1


class Landmarks(nn.Module):
    """P vectors (P, E); a series belongs to that of largest cosine similarity to its embedding.

    Buffers: `index` (P,) number of the training series of each, -1 before `project`; `label` (P,) its class.

    Args:
        count: P.
        width: E.
    """

    index: Tensor
    label: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(count, width))
        self.register_buffer("index", torch.full((count,), -1))
        self.register_buffer("label", torch.zeros(count, dtype=torch.long))

    def similarity(self, code: Tensor) -> Tensor:
        """Cosine similarities (B, P) to embeddings (B, E)."""
        return F.normalize(code, dim=1) @ F.normalize(self.vectors, dim=1).mT

    def assigned(self, code: Tensor) -> Tensor:
        """A landmark (B, E) for each embedding (B, E), drawn by its similarity; gradients reach the landmarks alone."""
        weights = F.gumbel_softmax(self.similarity(code.detach()).log_softmax(1), TEMPERATURE, hard=True)
        return weights @ self.vectors

    @torch.no_grad()
    def start(self, codes: Tensor, labels: Tensor) -> None:
        """Places the landmarks at embeddings of training series, evenly over the classes.

        Args:
            codes: (N, E) of all training series.
            labels: (N,) their classes.
        """
        rank = torch.zeros_like(labels)
        for label in labels.unique():
            own = labels == label
            rank[own] = torch.arange(int(own.sum()), device=labels.device)
        order = rank.argsort(stable=True)[torch.arange(len(self.vectors), device=labels.device) % len(labels)]
        self.vectors.copy_(codes[order])

    @torch.no_grad()
    def project(self, codes: Tensor, labels: Tensor) -> None:
        """Replaces each landmark by the embedding of the nearest training series; arguments as for `start`."""
        nearest = self.similarity(codes).argmax(0)
        self.vectors.copy_(codes[nearest])
        self.index.copy_(nearest)
        self.label.copy_(labels[nearest])


def embed_all(projection_set: ProjectionSet, embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (N, E) and targets (N,) of the whole training set, on all ranks, in its order."""
    batches = [(embed(batch["input"]), batch["target"]) for batch in projection_set]
    codes, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return projection_set.gather(codes), projection_set.gather(targets)
