"""The residual stream of a transformer as a sum of what its layers write."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Reads:
    """The attention of one layer: what each head reads at each position, and where it writes it.

    Attributes:
        query, key, value: (B, H, T, d).
        seen: (B, T) bool, the positions that can be read; None: all.
        output: (H, d, D), from values to the residual stream.
        bias: (D,) or (B, T, D), what the layer adds at every position.
        scale: (B, T), factor of what is written at each position; None: 1.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    seen: Tensor | None
    output: Tensor
    bias: Tensor
    scale: Tensor | None = None

    def written(self) -> Tensor:
        """What the layer adds to the residual stream (B, T, D)."""
        mask = None if self.seen is None else self.seen[:, None, None]
        mixed = F.scaled_dot_product_attention(self.query, self.key, self.value, mask)
        added = torch.einsum("bhtd,hde->bte", mixed, self.output)
        return self.bias + (added if self.scale is None else added * self.scale[..., None])

    def weighted(self, weight: Tensor) -> Tensor:
        """Σ_i weight_i P_ij V_j for each source position j: (B, H, T, d) from weights (B, T) of the readers i."""
        logits = self.query @ self.key.mT / self.query.shape[-1] ** 0.5
        if self.seen is not None:
            seen = self.seen[:, None, None]
            logits = logits.masked_fill(~seen, torch.finfo(logits.dtype).min)
        pattern = logits.softmax(3)
        if self.seen is not None:  # an input without tokens reads nothing
            pattern = pattern * self.seen[:, None, None]
        weight = weight if self.scale is None else weight * self.scale
        return (weight[:, None, None] @ pattern).mT * self.value


@dataclass(frozen=True)
class Stream:
    """The residual stream of a forward pass.

    Attributes:
        embedding: (B, T, D), before the first layer.
        reads: the attention of each of L layers.
        feeds: what the MLP of each layer adds, (B, T, D).
        last: (B, T, D), after the last layer: the sum of all.
        pool: (B, T), weight of each position in the pooled state.
        order: (B, T'), the positions to tell apart, in their order; the others have no weight. None: all.
        shown: (B, T') bool, those of them that the input has.
    """

    embedding: Tensor
    reads: tuple[Reads, ...]
    feeds: tuple[Tensor, ...]
    last: Tensor
    pool: Tensor
    order: Tensor | None = None
    shown: Tensor | None = None

    def states(self) -> list[Tensor]:
        """The residual stream after each of 0, ..., L layers, (B, T, D) each."""
        found = [self.embedding]
        for reads, feed in zip(self.reads, self.feeds, strict=True):
            found.append(found[-1] + reads.written() + feed)
        return found

    def arranged(self, values: Tensor) -> Tensor:
        """Values (B, N, T, D) of all positions as those (B, N, T', D) of the positions that are told apart."""
        if self.order is None or self.shown is None:
            return values
        index = self.order[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3])
        return values.gather(2, index) * self.shown[:, None, :, None]
