"""The network of a weight-sparse transformer, whose nodes can be looked at, and replaced by their means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.attention import sink_attention
from zoo.domain.text import PAD

ATTENTION, MLP = 0, 1  # the two writes of a block to the residual stream
SITES = ("attn_in", "attn_q", "attn_k", "attn_v", "attn_out", "mlp_in", "mlp_neuron", "mlp_out")


@dataclass(frozen=True)
class Layout:
    """Where the nodes of a block lie in one flat vector: a node is a coordinate of one of the eight sites.

    Attributes:
        layers: L.
        width: d, of the residual stream.
        neurons: of the hidden layer of each MLP.
    """

    layers: int
    width: int
    neurons: int

    @property
    def sizes(self) -> dict[str, int]:
        """How many nodes each site has."""
        return {site: self.neurons if site == "mlp_neuron" else self.width for site in SITES}

    @property
    def nodes(self) -> int:
        """How many nodes a block has."""
        return sum(self.sizes.values())

    def part(self, site: str) -> slice:
        """The place of a site's nodes among those of its block."""
        start = 0
        for name, size in self.sizes.items():
            if name == site:
                return slice(start, start + size)
            start += size
        raise ValueError(f"there is no site '{site}'; sites: {', '.join(SITES)}.")


@dataclass(frozen=True)
class Ablation:
    """Nodes that keep their values, while all others take constant ones: x becomes m x + (1 - m) mean.

    Attributes:
        mask: (L, N) in [0, 1], of all nodes; or (B, L, N), one for each prompt.
        means: (L, N).
        layout: of the N nodes of a block.
        rewired: weight and bias in place of a block's own, by (layer, name): how edges are ablated.
    """

    mask: Tensor
    means: Tensor
    layout: Layout
    rewired: Mapping[tuple[int, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def kept(self, layer: int, site: str) -> Tensor:
        """The mask of a site, (n,) or (B, 1, n)."""
        mask = self.mask[..., layer, self.layout.part(site)]
        return mask if mask.ndim == 1 else mask[:, None]

    def constant(self, layer: int, site: str) -> Tensor:
        """What the ablated nodes of a site are set to, and 0 for those that are kept."""
        return (1 - self.kept(layer, site)) * self.means[layer, self.layout.part(site)]


class Written(NamedTuple):
    """What one sublayer writes to the residual stream at one position: gate (W value + b) + constant.

    Attributes:
        value: (B, n), of its attention channels or its neurons.
        gate: (B, d), 1 where the write is among the kept ones.
        constant: (B, d), the means of ablated writes.
    """

    value: Tensor
    gate: Tensor
    constant: Tensor


class Visit:
    """One pass through the network: AbsTopK at every site, ablation, and what is looked at on the way.

    Args:
        kept: how many entries each site keeps.
        ablation: of nodes, or None.
        record: whether to keep the values of all sites, (B, T, n) by (layer, site), those that attention gathered
            under the name "gathered", and the scales of all norms.
        scales: of the norms, from a recorded pass over the same tokens, in place of this pass's own.
    """

    def __init__(
        self,
        kept: dict[str, int],
        ablation: Ablation | None = None,
        record: bool = False,
        scales: Sequence[Tensor] | None = None,
    ) -> None:
        self.kept, self.ablation, self.record = kept, ablation, record
        self.values: dict[tuple[int, str], Tensor] = {}
        self.frozen = None if scales is None else list(scales)
        self.scales: list[Tensor] = []
        self.norms = 0

    def norm(self, norm: nn.RMSNorm, x: Tensor) -> Tensor:
        """The norm of a residual stream, by its own scale or by the frozen one that it has in another pass."""
        if self.frozen is not None:
            self.norms += 1
            return x * self.frozen[self.norms - 1] * norm.weight
        if self.record:
            self.scales.append((x.float().square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt())
        return norm(x)

    def at(self, layer: int, site: str, x: Tensor) -> Tensor:
        """The value that a site passes on, for the value x (B, T, n) that it was given."""
        x = abs_topk(x, self.kept[site])
        if self.ablation is not None:
            x = self.ablation.kept(layer, site).to(x) * x + self.ablation.constant(layer, site).to(x)
        if self.record:
            self.values[layer, site] = x
        return x

    def linear(self, layer: int, name: str, linear: nn.Linear, x: Tensor) -> Tensor:
        """What a linear layer of a block makes of x, where some of its edges may be ablated."""
        rewired = {} if self.ablation is None else self.ablation.rewired
        return F.linear(x, *rewired[layer, name]) if (layer, name) in rewired else linear(x)

    def written(self, layer: int, site: str, value: Tensor, before: Tensor, read: Tensor) -> Written:
        """What a sublayer wrote at the positions `read` (B,), where its write was `before` AbsTopK and ablation."""
        rows = torch.arange(read.shape[0], device=read.device)
        gate = (abs_topk(before[rows, read], self.kept[site]) != 0).float()
        constant = torch.zeros_like(gate)
        if self.ablation is not None:
            mask = self.ablation.kept(layer, site)
            constant = constant + self.ablation.constant(layer, site).flatten(-1 if mask.ndim == 1 else 1)
            gate = gate * (mask if mask.ndim == 1 else mask[:, 0])
        return Written(value[rows, read], gate, constant)


class Block(nn.Module):
    """A pre-norm block: attention, then an MLP; both read the residual stream through AbsTopK and write through it.

    Args:
        layer: its number.
        layers: of the network.
        width: d.
        heads: of attention.
        neurons: of the MLP.
        extra: channels of positions that both may read.
        sink: whether each head has a sink logit.
    """

    def __init__(self, layer: int, layers: int, width: int, heads: int, neurons: int, extra: int, sink: bool) -> None:
        super().__init__()
        self.layer, self.heads = layer, heads
        self.attn_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width + extra, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width + extra, neurons), nn.Linear(neurons, width)
        self.sink = nn.Parameter(torch.zeros(heads)) if sink else None
        for linear in (self.qkv, self.out, self.up, self.down):
            std = 0.02 / math.sqrt(2 * layers) if linear in (self.out, self.down) else 0.02
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, positions: Tensor | None, visit: Visit, read: Tensor) -> tuple[Tensor, list[Written]]:
        """The residual stream (B, T, d) after this block, and what it wrote at the positions `read` (B,)."""
        x, attended = self.attend(x, positions, visit, read)
        x, transformed = self.transform(x, positions, visit, read)
        return x, [attended, transformed]

    def attend(self, x: Tensor, positions: Tensor | None, visit: Visit, read: Tensor) -> tuple[Tensor, Written]:
        """The first half of `forward`: attention."""
        i = self.layer
        seen = beside(visit.at(i, "attn_in", visit.norm(self.attn_norm, x)), positions)
        q, k, v = (
            visit.at(i, f"attn_{n}", t)
            for n, t in zip("qkv", visit.linear(i, "qkv", self.qkv, seen).chunk(3, -1), strict=True)
        )
        value = sink_attention(*(t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)), self.sink)
        value = value.transpose(1, 2).flatten(2)
        if visit.record:
            visit.values[i, "gathered"] = value
        before = visit.linear(i, "out", self.out, value)
        return x + visit.at(i, "attn_out", before), visit.written(i, "attn_out", value, before, read)

    def transform(self, x: Tensor, positions: Tensor | None, visit: Visit, read: Tensor) -> tuple[Tensor, Written]:
        """The second half of `forward`: the MLP."""
        i = self.layer
        seen = beside(visit.at(i, "mlp_in", visit.norm(self.mlp_norm, x)), positions)
        value = visit.at(i, "mlp_neuron", F.gelu(visit.linear(i, "up", self.up, seen)))
        before = visit.linear(i, "down", self.down, value)
        return x + visit.at(i, "mlp_out", before), visit.written(i, "mlp_out", value, before, read)


class SparseNetwork(nn.Module):
    """Tokens (B, T) to the residual stream (B, T, d) and the logits of the next token (B, T, V).

    Args:
        vocabulary: V.
        length: T, of the longest prompt.
        width: d of the residual stream.
        layers: L.
        head_width: channels of an attention head.
        neurons: of each MLP.
        kept: share of the entries that AbsTopK keeps at each site.
        bigram: whether a table adds logits of its own for each current token.
        sink: whether each head has a sink logit.
        positions: None, "learned", or "sinusoid": vectors that every sublayer may read and none writes.
        position_width: their channels.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int,
        layers: int,
        head_width: int,
        neurons: int,
        kept: float,
        bigram: bool,
        sink: bool,
        positions: str | None,
        position_width: int,
    ) -> None:
        super().__init__()
        self.layout = Layout(layers, width, neurons)
        self.kept = {site: max(1, int(kept * size)) for site, size in self.layout.sizes.items()}
        extra = position_width if positions else 0
        heads = width // head_width
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList([Block(i, layers, width, heads, neurons, extra, sink) for i in range(layers)])
        self.norm, self.unembedding = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.bigram = nn.Parameter(torch.rand(vocabulary, vocabulary) * 0.02) if bigram else None
        for weight in (self.embedding.weight, self.unembedding.weight):
            nn.init.normal_(weight, std=0.02)
        self.positions = nn.Parameter(torch.zeros(length, extra)) if positions == "learned" else None
        self.register_buffer("waves", sinusoids(length, extra) if positions == "sinusoid" else None, persistent=False)
        self.position_norm = nn.RMSNorm(extra) if positions else None

    def forward(self, tokens: Tensor, visit: Visit, read: Tensor) -> tuple[Tensor, list[list[Written]]]:
        """The final residual stream (B, T, d), and what each block wrote at the positions `read` (B,)."""
        x, positions = self.embedding(tokens), self.position_channels(tokens.shape[1])
        written = []
        for block in self.blocks:
            x, its = block(x, positions, visit, read)
            written.append(its)
        return x, written

    def logits(self, residual: Tensor, tokens: Tensor) -> Tensor:
        """(..., V) logits of the next token, for residual streams (..., d) at `tokens` (...)."""
        logits = self.unembedding(self.norm(residual))
        return logits if self.bigram is None else logits + self.bigram[tokens]

    def visit(self, ablation: Ablation | None = None, **options: Any) -> Visit:
        """A pass to be made, see `Visit`."""
        return Visit(self.kept, ablation, **options)

    def last_logits(self, tokens: Tensor, visit: Visit) -> Tensor:
        """(B, V) logits of what follows the last token of each prompt (B, T), padded on the right."""
        rows, read = torch.arange(tokens.shape[0], device=tokens.device), (tokens != PAD).sum(1) - 1
        residual = self(tokens, visit, read)[0][rows, read]
        logits = self.unembedding(visit.norm(self.norm, residual[:, None])[:, 0])
        return logits if self.bigram is None else logits + self.bigram[tokens[rows, read]]

    def position_channels(self, length: int) -> Tensor | None:
        """(T, p) what every sublayer may read beside the residual stream; None if there are no positions."""
        table = self.positions if self.positions is not None else self.waves
        return None if table is None or self.position_norm is None else self.position_norm(table[:length])


def epsilon(norm: nn.RMSNorm) -> float:
    """What a norm adds to the mean square in fp32."""
    return torch.finfo(torch.float32).eps if norm.eps is None else norm.eps


def beside(x: Tensor, positions: Tensor | None) -> Tensor:
    """(B, T, d + p): what a sublayer reads, with the channels of the positions (T, p) beside it."""
    return x if positions is None else torch.cat([x, positions.to(x).expand(*x.shape[:-1], -1)], -1)


def sinusoids(length: int, channels: int) -> Tensor:
    """(T, p) sines and cosines of positions, of periods from 4 to T in equal ratios."""
    periods = torch.logspace(math.log10(4), math.log10(max(length, 5)), max(channels // 2, 1))
    angle = 2 * math.pi * torch.arange(length)[:, None] / periods
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :channels]
