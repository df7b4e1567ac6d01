"""Attention to few learned mixtures of positions, whose effective attention is one exact matrix.

Wang, Li, Khabsa, Fang, Ma: "Linformer: Self-Attention with Linear Complexity", 2020, arXiv 2006.04768, equation 7.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.sequences.layers.mixing import Held, Mixer
from zoo.utils.checks import check_at_least


@dataclass(frozen=True)
class ObservedLinformer(Held):
    """Values and probabilities of a batch: M = P Fᵀ for each head, the same for its channels.

    Attributes:
        values: (T, B, E).
        here: (T, B), 1 at tokens and 0 at padding.
        probability: P (B, H, T, k).
        mixture: F (H, T, k), of values.
    """

    values: Tensor
    here: Tensor
    probability: Tensor
    mixture: Tensor

    def push(self) -> Tensor:
        heads = self._heads(self.values * self.here[..., None])
        return (self.probability @ (self.mixture.mT @ heads)).permute(2, 0, 1, 3).flatten(2)

    def pull(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        seen = weight.T[:, None, None] @ self.probability  # (B, H, 1, k)
        reach = (self.mixture @ seen.mT)[..., 0].permute(2, 0, 1) * self.here[..., None]  # (T, B, H)
        channels = self.values.shape[2]
        return reach.repeat_interleave(channels // reach.shape[2], 2), torch.zeros_like(self.values[0])

    def matrix(self) -> Tensor:
        found = (self.probability @ self.mixture.mT).permute(2, 3, 0, 1) * self.here[..., None]  # (T, T, B, H)
        return found.repeat_interleave(self.values.shape[2] // found.shape[3], 3)

    def _heads(self, values: Tensor) -> Tensor:
        """(T, B, E) as (B, H, T, E / H)."""
        return values.unflatten(2, (len(self.mixture), -1)).permute(1, 2, 0, 3)


class LinformerBlock(Mixer):
    """Linear-time attention: P = softmax(Q (Eᵀ K)ᵀ / √d), out = W_out P (Fᵀ V).

    The learned E and F (T, k) of each head mix keys and values over positions; texts leave padding out of the sums.
    They have a row for each position, so that order is known without position vectors.

    Args:
        width: of the token vectors.
        length: T.
        mixtures: k.
        heads: H.

    Raises:
        ValueError: a number below 1, or a width that is no multiple of heads.
    """

    def __init__(self, width: int, length: int, mixtures: int = 32, heads: int = 4) -> None:
        check_at_least(1, width=width, length=length, mixtures=mixtures, heads=heads)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got {width} and {heads}.")
        super().__init__(width, width)
        self.heads = heads
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.of_keys, self.of_values = (
            nn.Parameter(torch.randn(heads, length, mixtures) / length**0.5) for _ in range(2)
        )

    def observe(self, u: Tensor, here: Tensor) -> ObservedLinformer:
        query, key = (
            layer(u).unflatten(2, (self.heads, -1)).permute(1, 2, 0, 3) for layer in (self.query, self.key)
        )  # (B, H, T, E / H)
        mixed = self.of_keys.mT @ (key * here.T[:, None, :, None])  # (B, H, k, E / H)
        probability = (query @ mixed.mT / query.shape[-1] ** 0.5).softmax(3)
        return ObservedLinformer(self.value(u), here, probability, self.of_values)
