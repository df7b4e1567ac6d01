"""The network of a self-ablating transformer: a clean residual stream, and a gated copy that is computed next to it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.network.topk_gate import topk_gate
from zoo.utils.modules import TypedModuleList


class Heads(NamedTuple):
    """Queries, keys and values of one stream, (B, H, T, D) each."""

    query: Tensor
    key: Tensor
    value: Tensor


class BlockOutput(NamedTuple):
    """What a block computes for one stream.

    Attributes:
        heads: queries, keys and values.
        context: (B, T, d), output of attention after its gates.
        neurons: (B, T, m), after their gates.
        after: (B, T, d), the stream after the block.
    """

    heads: Heads
    context: Tensor
    neurons: Tensor
    after: Tensor


class GatedBlock(nn.Module):
    """A pre-norm block with LayerNorm, which both streams run through, the ablated one with gates.

    Args:
        width: d.
        heads: attention heads.
        neurons: hidden units m of the MLP.
        local: compute the gate scores in this block, from the clean stream before it.
        approximate: form of GELU, "tanh" or "none".
    """

    gates: nn.Linear | None

    def __init__(self, width: int, heads: int, neurons: int, local: bool, approximate: str) -> None:
        super().__init__()
        self.heads, self.activation = heads, nn.GELU(approximate)
        self.attn_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, neurons), nn.Linear(neurons, width)
        self.gates = nn.Linear(width, width + neurons) if local else None

    def clean(self, x: Tensor) -> BlockOutput:
        """Runs the clean stream (B, T, d) without gates."""
        heads = self._heads_of(x)
        context = F.scaled_dot_product_attention(heads.query, heads.key, heads.value, is_causal=True)
        context = context.transpose(1, 2).flatten(2)  # (B, T, d)
        middle = x + self.out(context)
        neurons = self.activation(self.up(self.mlp_norm(middle)))  # (B, T, m)
        return BlockOutput(heads, context, neurons, middle + self.down(neurons))

    def ablated(self, z: Tensor, clean: BlockOutput, scores: Tensor, k: int, temperature: float) -> BlockOutput:
        """Runs the ablated stream (B, T, d) with the gates of the k largest scores (B, T, d + m) of each kind."""
        width, heads = z.shape[-1], self._heads_of(z)
        context = attend_clean_past(heads, clean.heads) * topk_gate(scores[..., :width], k, temperature)
        middle = z + self.out(context)
        neurons = self.activation(self.up(self.mlp_norm(middle))) * topk_gate(scores[..., width:], k, temperature)
        return BlockOutput(heads, context, neurons, middle + self.down(neurons))

    def _heads_of(self, x: Tensor) -> Heads:
        parts = self.qkv(self.attn_norm(x)).chunk(3, -1)
        return Heads(*(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts))


def attend_clean_past(own: Heads, clean: Heads) -> Tensor:
    """Attention (B, T, d) to the clean stream at earlier tokens and to the own stream at the token itself.

    Args:
        own: heads of the stream that attends.
        clean: heads of the clean stream.
    """
    size, length = own.query.shape[-1] ** 0.5, own.query.shape[2]
    earlier = torch.ones(length, length, dtype=torch.bool, device=own.query.device).tril(-1)
    scores = ((own.query @ clean.key.mT) / size).masked_fill(~earlier, -torch.inf)  # (B, H, T, T)
    itself = (own.query * own.key).sum(-1, keepdim=True) / size
    weights = torch.cat([scores, itself], -1).softmax(-1)  # (B, H, T, T + 1)
    gathered = weights[..., :-1] @ clean.value + weights[..., -1:] * own.value
    return gathered.transpose(1, 2).flatten(2)


class TwoStreams(nn.Module):
    """The network of `SelfAblatingTransformer`.

    Args:
        vocabulary: V.
        length: T, number of tokens of the longest prompt.
        width: d.
        layers: number of blocks L.
        heads: attention heads.
        neurons: hidden units m of each MLP.
        local: compute the gate scores before each block; otherwise after a clean pass through all blocks.
        approximate: form of GELU, "tanh" or "none".
    """

    gates: nn.Linear | None

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        neurons: int,
        local: bool,
        approximate: str,
    ) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.blocks = TypedModuleList([GatedBlock(width, heads, neurons, local, approximate) for _ in range(layers)])
        self.norm, self.unembedding = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.gates = None if local else nn.Linear(width, layers * (width + neurons))
        for weight in (self.embedding.weight, self.unembedding.weight, self.positions):
            nn.init.normal_(weight, std=0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        """Sum of token and position embeddings, (B, T, d)."""
        return self.embedding(tokens) + self.positions[: tokens.shape[1]]

    def forward(self, tokens: Tensor, k: int, temperature: float) -> tuple[list[BlockOutput], list[BlockOutput]]:
        """Outputs of all blocks for the clean stream, and for the ablated one."""
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
        for block, of_clean, of_gates in zip(self.blocks, clean, scores, strict=True):
            ablated.append(block.ablated(z, of_clean, of_gates, k, temperature))
            z = ablated[-1].after
        return clean, ablated

    def stream_distance(self, clean: list[BlockOutput], ablated: list[BlockOutput]) -> Tensor:
        """Mean squared difference (B, T, L + 1) of the normalised streams, after each block and after the norm."""
        pairs = [(a.after, b.after) for a, b in zip(clean, ablated, strict=True)]
        pairs.append((self.norm(clean[-1].after), self.norm(ablated[-1].after)))
        return torch.stack([(F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).square().mean(-1) for a, b in pairs], -1)
