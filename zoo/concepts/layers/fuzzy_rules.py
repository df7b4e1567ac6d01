"""Fuzzy rules over concepts: which concepts matter, which truth value is required, and how well they agree (DCR).

Barbiero et al.: "Interpretable Neural-Symbolic Concept Reasoning", ICML 2023, arXiv 2304.14068, section 3.
"""

import torch
from torch import Tensor, nn


class RuleBuilder(nn.Module):
    """Polarity and relevance (B, k, C) of concepts from their embeddings (B, k, m).

    Args:
        width: m.
        classes: C.
        temperature: τ; the larger, the more concepts are relevant.
    """

    def __init__(self, width: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.polarity, self.relevance = (
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, classes)) for _ in range(2)
        )

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        log = self.relevance(embeddings).log_softmax(1)
        return self.polarity(embeddings).sigmoid(), (log - self.temperature * log.mean(1, keepdim=True)).sigmoid()


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Truth of a <-> b in Gödel's logic with involutive negation: min(max(1 - a, b), max(a, 1 - b))."""
    return torch.minimum(torch.maximum(1 - a, b), torch.maximum(a, 1 - b))
