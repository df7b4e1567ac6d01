"""An encoder of texts that is trained from scratch: a small Transformer over words."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import TextDomain
from zoo.domain.text import PAD
from zoo.networks.base import StateEncoder

POOLINGS = ("masked", "padded")


def check_pooling(pooling: str) -> None:
    """Refuses an unknown pooling.

    Raises:
        ValueError: it is neither "masked" nor "padded".
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be 'masked' or 'padded'; got '{pooling}'.")


def masked_mean(states: Tensor, words: Tensor) -> Tensor:
    """Mean of states (B, T, D) over the positions that `words` (B, T) marks; zeros (B, D) where it marks none."""
    return (states * words[..., None]).sum(1) / words.sum(1, keepdim=True).clamp_min(1)


class TextTransformer(StateEncoder):
    """A small Transformer over words, averaged over positions: token numbers (B, T) to (B, `channels`).

    Args:
        domain: of the texts.
        width: of the embeddings, `channels`.
        layers: number of Transformer blocks.
        heads: attention heads of each block.
        dropout: dropout probability during training, in [0, 1).
        pooling: "masked": the mean over the words, so that padding changes nothing; "padded": the mean over all T
            positions, padding included, as in the code of Tan et al. (PAKDD 2024).

    Raises:
        ValueError: an unknown pooling, or sizes that do not fit each other.
    """

    places = True

    def __init__(
        self,
        domain: TextDomain,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pooling: str = "masked",
    ) -> None:
        super().__init__()
        check_pooling(pooling)
        if width < 1 or layers < 1 or heads < 1 or width % heads or not 0 <= dropout < 1:
            raise ValueError(
                "expected layers >= 1, a width that is a multiple of heads, and dropout in [0, 1); got "
                f"{layers}, {width} and {heads}, {dropout}."
            )
        self.channels, self.pooling = width, pooling
        self.embedding = nn.Embedding(domain.size, width, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(domain.length, width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TextBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @property
    def layers(self) -> "list[TextBlock]":
        """The Transformer blocks."""
        return [block for block in self.blocks if isinstance(block, TextBlock)]

    def states(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """Encodes each word: token numbers (B, T) to (B, T, `channels`).

        Args:
            x: token numbers (B, T).
            place: (B, T) position of each word in its text, if words were left out; by default 0, 1, 2, ...
        """
        words = x != PAD  # (B, T)
        h = self.drop(self.embedding(x) + (self.position if place is None else self.position[place]))
        for block in self.blocks:
            h = block(h, words)
        return self.norm(h)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        h = self.states(x, place)
        return h.mean(1) if self.pooling == "padded" else masked_mean(h, x != PAD)


class TextBlock(nn.Module):
    """Pre-norm attention over the words, then a feed-forward layer: (B, T, D) to (B, T, D).

    Args:
        width: D.
        heads: of the attention.
        dropout: dropout probability during training, in [0, 1).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, words: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norms[0](h)).chunk(3, 2))
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, words[:, None, None], dropout)
        h = h + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return h + self.drop(self.feed(self.norms[1](h)))
