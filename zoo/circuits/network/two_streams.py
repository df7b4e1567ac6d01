"""The network of a self-ablating transformer: a clean residual stream, and beside it one that passes through gates."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.network.topk_gate import winners


class Passage(NamedTuple):
    """One stream's way through one block.

    Attributes:
        heads: queries, keys and values, (B, H, T, D) each.
        context: (B, T, d), what attention gathered, after its gates.
        neurons: (B, T, m), after their gates.
        after: (B, T, d), the stream.
    """

    heads: tuple[Tensor, ...]
    context: Tensor
    neurons: Tensor
    after: Tensor


class GatedBlock(nn.Module):
    """A pre-norm block with LayerNorm that both streams run through, the second with gates.

    Args:
        width: d.
        heads: of attention.
        neurons: m of the MLP.
        local: whether its gates are chosen here, from the clean stream before it.
    """

    def __init__(self, width: int, heads: int, neurons: int, local: bool) -> None:
        super().__init__()
        self.heads = heads
        self.attn_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, neurons), nn.Linear(neurons, width)
        self.gates = nn.Linear(width, width + neurons) if local else None

    def clean(self, x: Tensor) -> Passage:
        """The clean stream through this block, without gates."""
        heads = self._heads_of(x)
        context = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        middle = x + self.out(context)
        neurons = F.gelu(self.up(self.mlp_norm(middle)))
        return Passage(heads, context, neurons, middle + self.down(neurons))

    def ablated(self, z: Tensor, clean: Passage, scores: Tensor, k: int, temperature: float) -> Passage:
        """The other stream through this block, with gates of k winners among the scores (B, T, d + m)."""
        width, heads = z.shape[-1], self._heads_of(z)
        context = beside_clean(heads, clean.heads) * winners(scores[..., :width], k, temperature)
        middle = z + self.out(context)
        neurons = F.gelu(self.up(self.mlp_norm(middle))) * winners(scores[..., width:], k, temperature)
        return Passage(heads, context, neurons, middle + self.down(neurons))

    def _heads_of(self, x: Tensor) -> tuple[Tensor, ...]:
        parts = self.qkv(self.attn_norm(x)).chunk(3, -1)
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)


def beside_clean(own: tuple[Tensor, ...], clean: tuple[Tensor, ...]) -> Tensor:
    """(B, T, d) what attention gathers: keys and values of the clean stream before a token, and its own at the token.

    Args:
        own: queries, keys and values of the stream, (B, H, T, D) each.
        clean: those of the clean stream.
    """
    (q, own_k, own_v), (_, k, v) = own, clean
    size, length = q.shape[-1] ** 0.5, q.shape[2]
    earlier = torch.ones(length, length, dtype=torch.bool, device=q.device).tril(-1)
    scores = ((q @ k.mT) / size).masked_fill(~earlier, -torch.inf)
    itself = (q * own_k).sum(-1, keepdim=True) / size
    weights = torch.cat([scores, itself], -1).softmax(-1)
    gathered = weights[..., :-1] @ v + weights[..., -1:] * own_v
    return gathered.transpose(1, 2).flatten(2)


class TwoStreams(nn.Module):
    """The network of `SelfAblatingTransformer`; see there for its sizes."""

    def __init__(
        self, vocabulary: int, length: int, width: int, layers: int, heads: int, neurons: int, local: bool
    ) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList([GatedBlock(width, heads, neurons, local) for _ in range(layers)])
        self.norm, self.unembedding = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.gates = None if local else nn.Linear(width, layers * (width + neurons))
        for weight in (self.embedding.weight, self.unembedding.weight, self.positions):
            nn.init.normal_(weight, std=0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, T, d) tokens and their positions."""
        return self.embedding(tokens) + self.positions[: tokens.shape[1]]

    def forward(self, tokens: Tensor, k: int, temperature: float) -> tuple[list[Passage], list[Passage]]:
        """The clean and the ablated stream through each block."""
        start = x = self.embed(tokens)
        clean, scores = [], []
        for block in self.blocks:
            if block.gates is not None:
                scores.append(block.gates(x))
            clean.append(block.clean(x))
            x = clean[-1].after
        if self.gates is not None:
            scores = self.gates(self.norm(x)).chunk(len(self.blocks), -1)
        ablated, z = [], start
        for block, its_clean, its_scores in zip(self.blocks, clean, scores, strict=True):
            ablated.append(block.ablated(z, its_clean, its_scores, k, temperature))
            z = ablated[-1].after
        return clean, ablated

    def apart(self, clean: list[Passage], ablated: list[Passage]) -> Tensor:
        """(B, T, L + 1) mean squared difference of both streams at length 1: after each block, and after the norm."""
        pairs = [(a.after, b.after) for a, b in zip(clean, ablated, strict=True)]
        pairs.append((self.norm(clean[-1].after), self.norm(ablated[-1].after)))
        return torch.stack([(F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).square().mean(-1) for a, b in pairs], -1)
