"""Concept embeddings: two vectors for each concept, mixed by its probability. Shared by CEM and IntCEM.

Espinosa Zarlenga et al.: "Concept Embedding Models", NeurIPS 2022, arXiv 2209.09056, section 3.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import Annotated
from zoo.concepts.layers.losses import probabilities
from zoo.core.evidence import Evidence


class ConceptEmbedding(nn.Module):
    """Vectors (B, d) to the embeddings c⁺ and c⁻ (B, k, m) of every concept, and its logit (B, k).

    All 2mk numbers come from one matrix product instead of one layer a concept.

    Args:
        channels: d.
        concepts: k.
        width: m.
        shared: one scoring layer for all concepts (CEM) instead of one for each (IntCEM).
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


class Embedded(Annotated):
    """Mixin of models that score classes linearly from mixed embeddings c = c⁻ + p (c⁺ - c⁻)."""

    head: nn.Linear

    def evidence(self, x: Tensor) -> Evidence:
        positive, negative, logit = self.concepts(self.backbone(x))
        logit = logit.float()
        state = {"positive": positive, "negative": negative, "logit": logit}
        return Evidence(probabilities(logit, self.exclusive), state=state)

    def mixed(self, evidence: Evidence) -> Tensor:
        """The embeddings (B, k, m) that the head reads."""
        positive, negative = evidence.state["positive"], evidence.state["negative"]
        return torch.lerp(negative, positive, evidence.activation[..., None])

    def blocks(self) -> Tensor:
        """The head's weights by concept, (C, k, m)."""
        return self.head.weight.float().unflatten(1, (len(self.domain.concepts), -1))

    def readout(self, evidence: Evidence) -> Tensor:
        return F.linear(self.mixed(evidence).flatten(1), self.head.weight.float(), self.head.bias.float())

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return (self.mixed(evidence) * self.blocks()[target]).sum(2), self.head.bias.float()[target]

    def slopes(self, evidence: Evidence) -> Tensor:
        difference = evidence.state["positive"] - evidence.state["negative"]
        return torch.einsum("bkm,ckm->bkc", difference, self.blocks())

    def ablate(self, evidence: Evidence, units: Iterable[str | int]) -> Evidence:
        """The evidence without some concepts: both their embeddings become 0, as c⁻ speaks too."""
        columns = [self.unit_index(unit) for unit in units]
        keep = torch.ones_like(evidence.activation)
        keep[:, columns] = 0
        embeddings = {name: evidence.state[name] * keep[..., None] for name in ("positive", "negative")}
        return replace(evidence, activation=evidence.activation * keep, state={**evidence.state, **embeddings})
