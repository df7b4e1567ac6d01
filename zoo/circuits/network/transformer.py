"""The network of a weight-sparse transformer, whose nodes can be recorded and ablated."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.network.attention import sink_attention
from zoo.circuits.network.layout import Layout
from zoo.circuits.network.options import Positions, Sparsity
from zoo.circuits.network.trace import GATHERED, Ablation, ResidualWrite, Trace, unobserved
from zoo.training.language import last_positions
from zoo.utils.modules import TypedModuleList

HEADS = ("attn_q", "attn_k", "attn_v")  # sites of the parts of the matrix "qkv"
ATTENTION, MLP = 0, 1  # indices of the two writes of a block to the residual stream


class Block(nn.Module):
    """A pre-norm block: attention, then an MLP. Both read and write the residual stream through AbsTopK.

    Args:
        layer: index of the block.
        layers: number of blocks of the network.
        width: d.
        heads: attention heads.
        neurons: hidden units of the MLP.
        extra: position channels that attention and MLP read in addition to the residual stream.
        sink: give each head a sink logit.
    """

    sink: nn.Parameter | None
    attn_position_norm: nn.RMSNorm | None
    mlp_position_norm: nn.RMSNorm | None

    def __init__(self, layer: int, layers: int, width: int, heads: int, neurons: int, extra: int, sink: bool) -> None:
        super().__init__()
        self.layer, self.heads = layer, heads
        self.attn_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attn_position_norm, self.mlp_position_norm = (nn.RMSNorm(extra) if extra else None for _ in range(2))
        self.qkv, self.out = nn.Linear(width + extra, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width + extra, neurons), nn.Linear(neurons, width)
        self.sink = nn.Parameter(torch.zeros(heads)) if sink else None
        for linear in (self.qkv, self.out, self.up, self.down):
            std = 0.02 / math.sqrt(2 * layers) if linear in (self.out, self.down) else 0.02
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x: Tensor, positions: Tensor | None, trace: Trace, read: Tensor
    ) -> tuple[Tensor, list[ResidualWrite]]:
        """The residual stream (B, T, d) after this block, and its two writes at the positions `read` (B,)."""
        x, attention = self.attend(x, positions, trace, read)
        x, mlp = self.transform(x, positions, trace, read)
        return x, [attention, mlp]

    def attend(self, x: Tensor, positions: Tensor | None, trace: Trace, read: Tensor) -> tuple[Tensor, ResidualWrite]:
        """First half of `forward`: attention."""
        i = self.layer
        value = self.gather(x, positions, trace)
        before = trace.linear(i, "out", self.out, value)
        written, write = trace.write(i, "attn_out", value, before, read, unobserved(self.out))
        return x + written, write

    def gather(self, x: Tensor, positions: Tensor | None, trace: Trace) -> Tensor:
        """What attention gathers at each position, (B, T, d)."""
        i, norm = self.layer, self.attn_norm
        channels = normalised(self.attn_position_norm, positions)
        seen = trace.at(i, "attn_in", trace.norm(norm, x), channels, unobserved(norm))  # (B, T, d + p)
        q, k, v = trace.split_at(i, HEADS, trace.linear(i, "qkv", self.qkv, seen), unobserved(self.qkv))
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, H, T, d / H)
        return trace.changed(i, GATHERED, sink_attention(q, k, v, self.sink).transpose(1, 2).flatten(2))

    def at_positions(self, x: Tensor, trace: Trace, read: Tensor) -> Tensor:
        """The residual stream (B, 1, d) after this block at the positions `read` (B,); it has no position channels.

        What the other positions write is not computed.
        """
        i, rows = self.layer, torch.arange(len(read), device=read.device)
        value, x = self.gather(x, None, trace)[rows, read][:, None], x[rows, read][:, None]
        x = x + trace.at(i, "attn_out", trace.linear(i, "out", self.out, value))
        seen = trace.at(i, "mlp_in", trace.norm(self.mlp_norm, x))
        value = trace.at(i, "mlp_neuron", F.gelu(trace.linear(i, "up", self.up, seen)))
        return x + trace.at(i, "mlp_out", trace.linear(i, "down", self.down, value))

    def transform(
        self, x: Tensor, positions: Tensor | None, trace: Trace, read: Tensor
    ) -> tuple[Tensor, ResidualWrite]:
        """Second half of `forward`: the MLP."""
        i, norm = self.layer, self.mlp_norm
        channels = normalised(self.mlp_position_norm, positions)
        seen = trace.at(i, "mlp_in", trace.norm(norm, x), channels, unobserved(norm))  # (B, T, d + p)
        neurons = F.gelu(trace.linear(i, "up", self.up, seen))  # (B, T, m)
        value = trace.at(i, "mlp_neuron", neurons, overwrite=True)
        before = trace.linear(i, "down", self.down, value)
        written, write = trace.write(i, "mlp_out", value, before, read, unobserved(self.down))
        return x + written, write


class SparseNetwork(nn.Module):
    """Maps tokens (B, T) to the residual stream (B, T, d) and to the logits of the next token (B, T, V).

    Args:
        vocabulary: V.
        length: T, number of tokens of the longest prompt.
        width: d of the residual stream.
        layers: number of blocks L.
        head_width: channels per attention head.
        neurons: hidden units of each MLP.
        sparsity: share of the entries that AbsTopK keeps, and its sites.
        bigram: add a table of logits that depends only on the current token.
        sink: give each head a sink logit.
        positions: position channels or embeddings, or None.

    Attributes:
        layout: order of the nodes of a block.
        channels: number of position channels p.
        kept: number of entries that AbsTopK keeps at each site.
    """

    bigram: nn.Parameter | None
    positions: nn.Parameter | None
    waves: Tensor | None

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int,
        layers: int,
        head_width: int,
        neurons: int,
        sparsity: Sparsity,
        bigram: bool,
        sink: bool,
        positions: Positions | None,
    ) -> None:
        super().__init__()
        self.layout = Layout(layers, width, neurons)
        kind = None if positions is None else positions.kind
        extra = 0 if positions is None or kind == "added" else positions.width
        self.kept = kept_entries(self.layout, sparsity, extra)
        heads = width // head_width
        self.channels = extra
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = TypedModuleList([Block(i, layers, width, heads, neurons, extra, sink) for i in range(layers)])
        self.norm, self.unembedding = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.bigram = nn.Parameter(torch.rand(vocabulary, vocabulary) * 0.02) if bigram else None
        for weight in (self.embedding.weight, self.unembedding.weight):
            nn.init.normal_(weight, std=0.02)
        self.positions = None
        if kind in ("learned", "added"):
            self.positions = nn.Parameter(0.02 * torch.randn(length, extra or width))
        self.register_buffer("waves", sinusoids(length, extra) if kind == "sinusoid" else None, persistent=False)

    def forward(self, tokens: Tensor, trace: Trace, read: Tensor) -> tuple[Tensor, list[list[ResidualWrite]]]:
        """The final residual stream (B, T, d), and the writes of each block at the positions `read` (B,)."""
        x, positions = self.embed(tokens), self.position_channels(tokens.shape[1])
        writes = []
        for block in self.blocks:
            x, of_block = block(x, positions, trace, read)
            writes.append(of_block)
        return x, writes

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings (B, T, d) of tokens, with the position embeddings if there are any."""
        x = self.embedding(tokens)
        if self.positions is None or self.channels:
            return x
        return x + self.positions[: tokens.shape[1]]

    def embed_at(self, tokens: Tensor, read: Tensor) -> Tensor:
        """Embeddings (B, d) of tokens (B,) at the positions `read` (B,), as `embed` computes them."""
        x = self.embedding(tokens)
        return x if self.positions is None or self.channels else x + self.positions[read]

    def logits(self, residual: Tensor, tokens: Tensor) -> Tensor:
        """Logits of the next token (..., V) for final residual streams (..., d) at `tokens` (...)."""
        logits = self.unembedding(self.norm(residual))
        return logits if self.bigram is None else logits + self.bigram[tokens]

    def trace(self, ablation: Ablation | None = None, **options: Any) -> Trace:
        """A new forward pass; for the options see `Trace`."""
        return Trace(self.kept, ablation, **options)

    def last_logits(self, tokens: Tensor, trace: Trace) -> Tensor:
        """Logits (B, V) of the token after each prompt (B, T), which is padded on the right.

        A pass that is only ablated computes the last block at the last positions alone.
        """
        rows, read = last_positions(tokens)
        if trace.only_ablates and not self.channels:
            x, (*blocks, last) = self.embed(tokens), self.blocks
            for block in blocks:
                x, _ = block(x, None, trace, read)
            residual = last.at_positions(x, trace, read)
        else:
            residual = self(tokens, trace, read)[0][rows, read][:, None]
        logits = self.unembedding(trace.norm(self.norm, residual)[:, 0])
        return logits if self.bigram is None else logits + self.bigram[tokens[rows, read]]

    def position_channels(self, length: int) -> Tensor | None:
        """Position channels (T, p) that every sublayer can read; None without positions."""
        table = self.positions if self.positions is not None else self.waves
        return table[:length] if table is not None and self.channels else None


def normalised(norm: nn.RMSNorm | None, channels: Tensor | None) -> Tensor | None:
    """Position channels (T, p) as a sublayer reads them; None without positions."""
    return None if norm is None or channels is None else norm(channels)


def kept_entries(layout: Layout, sparsity: Sparsity, channels: int) -> dict[str, int]:
    """Number of entries that AbsTopK keeps at each site; sublayers read position `channels` too."""
    sizes = {site: size + channels * site.endswith("_in") for site, size in layout.sizes.items()}
    share = sparsity.activation_density
    return {site: max(1, int(share * n)) if site in sparsity.sites else n for site, n in sizes.items()}


def sinusoids(length: int, channels: int) -> Tensor:
    """Sines and cosines of the position, (T, p); the periods grow geometrically from 4 to T. An odd p ends with 0.

    Differs from the published code: channel i is scaled by 1 - i / 10^6, because at position 0 all cosines would be
    equal, and which of equal values AbsTopK keeps is undefined in exported graphs.
    """
    periods = torch.logspace(math.log10(4), math.log10(max(length, 5)), max(channels // 2, 1))
    angle = 2 * math.pi * torch.arange(length)[:, None] / periods
    waves = torch.cat([angle.sin(), angle.cos()], 1)[:, :channels]
    waves = waves * (1 - 1e-6 * torch.arange(waves.shape[1]))
    return F.pad(waves, (0, channels - waves.shape[1]))
