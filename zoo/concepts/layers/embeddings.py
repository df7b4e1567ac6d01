"""Concept embeddings: two vectors per concept, mixed by its probability. Used by CEM, IntCEM and DCR.

Espinosa Zarlenga et al.: "Concept Embedding Models", NeurIPS 2022, arXiv 2209.09056, section 3.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.losses import probabilities
from zoo.core.evidence import Evidence
from zoo.utils.functional import at_least_fp32


class ConceptEmbedding(nn.Module):
    """Maps vectors (B, d) to the embeddings c⁺ and c⁻ (B, k, m) of every concept, and its logit (B, k).

    One matrix product computes all 2mk numbers, instead of one layer per concept.

    Args:
        channels: d.
        concepts: k.
        width: m.
        shared: one scoring layer for all concepts (CEM) instead of one per concept (IntCEM).
    """

    def __init__(self, channels: int, concepts: int, width: int, shared: bool) -> None:
        super().__init__()
        self.concepts, self.width = concepts, width
        self.embed = nn.Linear(channels, concepts * 2 * width)
        self.score = nn.Parameter(torch.empty(1 if shared else concepts, 2 * width))
        self.bias = nn.Parameter(torch.zeros(1 if shared else concepts))
        nn.init.uniform_(self.score, -((2 * width) ** -0.5), (2 * width) ** -0.5)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = F.leaky_relu(self.embed(h)).unflatten(1, (self.concepts, 2 * self.width))  # (B, k, 2m)
        logit = (both * self.score).sum(2) + self.bias
        return both[..., : self.width], both[..., self.width :], logit

    def evidence(self, h: Tensor, exclusive: Sequence[Sequence[int]]) -> Evidence:
        """Evidence of vectors (B, d): the probabilities, and the state "positive", "negative" and "logit".

        Args:
            h: (B, d).
            exclusive: columns of each exclusive group, whose concepts share a softmax.
        """
        positive, negative, logit = self(h)
        logit = at_least_fp32(logit)
        state = {"positive": positive, "negative": negative, "logit": logit}
        return Evidence(probabilities(logit, exclusive), state=state)


class EmbeddingHead(nn.Linear):
    """Linear scores of the mixed embeddings: score_y = Σ_i W_yi · c_i + b_y, so concept i contributes W_yi · c_i.

    Args:
        concepts: k.
        width: m.
        classes: C.
    """

    def __init__(self, concepts: int, width: int, classes: int) -> None:
        super().__init__(concepts * width, classes)
        self.concepts = concepts

    def blocks(self) -> Tensor:
        """The weights by concept, (C, k, m)."""
        return at_least_fp32(self.weight).unflatten(1, (self.concepts, -1))

    def scores(self, evidence: Evidence) -> Tensor:
        """Scores (B, C)."""
        return F.linear(mixed_embeddings(evidence).flatten(1), at_least_fp32(self.weight), at_least_fp32(self.bias))

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, k) and bias (B,) of the target's score, see `SelfInterpretable.attribute`."""
        return (mixed_embeddings(evidence) * self.blocks()[target]).sum(2), at_least_fp32(self.bias)[target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The mean of `attribute` over all classes."""
        contributions = (mixed_embeddings(evidence) * self.blocks().mean(0)).sum(2)
        return contributions, at_least_fp32(self.bias).mean().expand(evidence.activation.shape[0])

    def slopes(self, evidence: Evidence) -> Tensor:
        """Slopes (B, k, C) of the scores in the probabilities: (c⁺_i - c⁻_i) · W_yi."""
        difference = evidence.state["positive"] - evidence.state["negative"]
        return torch.einsum("bkm,ckm->bkc", difference, self.blocks())


def mixed_embeddings(evidence: Evidence) -> Tensor:
    """The embeddings (B, k, m) that the head reads, c = c⁻ + p (c⁺ - c⁻)."""
    return torch.lerp(evidence.state["negative"], evidence.state["positive"], evidence.activation[..., None])


def without_embeddings(evidence: Evidence, columns: Sequence[int]) -> Evidence:
    """The evidence with both embeddings of some concepts set to 0, because c⁻ contributes to the scores as well."""
    keep = torch.ones_like(evidence.activation)
    keep[:, list(columns)] = 0
    embeddings = {name: evidence.state[name] * keep[..., None] for name in ("positive", "negative")}
    return replace(evidence, activation=evidence.activation * keep, state={**evidence.state, **embeddings})
