"""A transformer as a graph of what writes to its residual stream and what reads it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.attention import sink_attention
from zoo.circuits.network.transformer import Block, SparseNetwork, beside
from zoo.domain.text import PAD


class Run(NamedTuple):
    """One pass along some of the paths.

    Attributes:
        written: by each source, (B, T, d).
        streams: everything written before each sublayer and after the last, (B, T, d).
        logits: (B, V) after the last token.
    """

    written: list[Tensor]
    streams: list[Tensor]
    logits: Tensor


class Graph:
    """The paths of a network, from each source to each destination behind it.

    Sources are the embedding, heads and MLPs; destinations are the queries, keys and values of each head, MLPs and the
    logits. Biases of attention's writes belong to no head, and always count.

    Args:
        network: the transformer.

    Attributes:
        sources, destinations: their names.
        exist: (S, D) bool, the paths that there are.
        sublayer: of each destination, as many as the 2 L of the network; that of the logits is 2 L.
        leads_to: the source that each destination is part of; None for the logits.
    """

    def __init__(self, network: SparseNetwork) -> None:
        self.network, self.heads = network, network.blocks[0].heads
        self.sources, self.destinations = ["embedding"], []
        self.sublayer: list[int] = []
        self.leads_to: list[int | None] = []
        after = []  # how many sources come before each destination

        def reader(name: str, sublayer: int, source: int | None) -> None:
            self.destinations.append(name)
            self.sublayer.append(sublayer)
            self.leads_to.append(source)
            after.append(len(self.sources))

        for layer in range(network.layout.layers):
            first = len(self.sources)
            for kind in ("query", "key", "value"):
                for h in range(self.heads):
                    reader(f"layer {layer} head {h} {kind}", 2 * layer, first + h)
            self.sources += [f"layer {layer} head {h}" for h in range(self.heads)]
            reader(f"layer {layer} MLP", 2 * layer + 1, len(self.sources))
            self.sources.append(f"layer {layer} MLP")
        reader("logits", 2 * network.layout.layers, None)
        self.exist = torch.arange(len(self.sources))[:, None] < torch.tensor(after)

    @torch.no_grad()
    def run(
        self,
        tokens: Tensor,
        kept: Tensor | None = None,
        others: Sequence[Tensor] = (),
        prefix: Run | None = None,
        start: int = 0,
    ) -> Run:
        """One pass along the kept paths.

        Args:
            tokens: (B, T).
            kept: (S, D) bool, on the CPU; by default all.
            others: what the other paths carry, by source, (B, T, d).
            prefix: a run whose sublayers before `start` are those of this one, and are not run again.
            start: the first sublayer to run.
        """
        net, kept = self.network, self.exist if kept is None else kept
        written, streams = [net.embedding(tokens)], []
        if prefix is not None:
            before = 1 + start // 2 * (self.heads + 1) + start % 2 * self.heads
            written, streams = prefix.written[:before], prefix.streams[:start]
        streams.append(written[0] if prefix is None else prefix.streams[start])
        positions, per_layer = net.position_channels(tokens.shape[1]), 3 * self.heads + 1

        def reads(first: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
            """Which of `count` readers see the same, and what they see."""
            same, group = kept[: len(written), first : first + count].unique(dim=1, return_inverse=True)
            for g, column in enumerate(same.T):
                left_out = (~column).nonzero()[:, 0].tolist()
                seen = streams[-1] + sum((others[s] - written[s] for s in left_out), torch.zeros_like(streams[-1]))
                yield (group == g).nonzero()[:, 0].to(tokens.device), seen

        for sublayer in range(start, 2 * len(net.blocks)):
            layer, is_mlp = divmod(sublayer, 2)
            block, first = net.blocks[layer], layer * per_layer
            if is_mlp:
                ((_, stream),) = reads(first + 3 * self.heads, 1)
                seen = beside(abs_topk(block.mlp_norm(stream), net.kept["mlp_in"]), positions)
                neurons = abs_topk(F.gelu(block.up(seen)), net.kept["mlp_neuron"])
                written.append(abs_topk(block.down(neurons), net.kept["mlp_out"]))
                streams.append(streams[-1] + written[-1])
            else:
                writes, bias = self._attend(block, reads(first, 3 * self.heads), positions)
                written += writes
                streams.append(streams[-1] + sum(writes, bias))
        rows, last = torch.arange(len(tokens), device=tokens.device), (tokens != PAD).sum(1) - 1
        ((_, stream),) = reads(len(self.destinations) - 1, 1)
        return Run(written, streams, net.logits(stream[rows, last], tokens[rows, last]))

    def _attend(
        self, block: Block, reads: Iterator[tuple[Tensor, Tensor]], positions: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """What each head writes (B, T, d), and what their bias does."""
        kept, readers, parts = self.network.kept, 3 * self.heads, {}
        weight, bias = block.qkv.weight.unflatten(0, (readers, -1)), block.qkv.bias.unflatten(0, (readers, -1))
        for which, stream in reads:
            seen = beside(abs_topk(block.attn_norm(stream), kept["attn_in"]), positions)
            found = F.linear(seen, weight[which].flatten(0, 1), bias[which].flatten())
            parts |= dict(zip(which.tolist(), found.unflatten(-1, (len(which), -1)).unbind(-2), strict=True))
        qkv = torch.stack([parts[r] for r in range(readers)], -2).unflatten(-2, (3, self.heads))
        q, k, v = (
            abs_topk(t.flatten(-2), kept[f"attn_{name}"]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, t in zip("qkv", qkv.unbind(-3), strict=True)
        )
        gathered = sink_attention(q, k, v, block.sink).transpose(1, 2)  # (B, T, H, D)
        gate = abs_topk(block.out(gathered.flatten(2)), kept["attn_out"]) != 0  # of what the heads write together
        columns = block.out.weight.unflatten(1, (self.heads, -1)).unbind(1)
        return [gate * F.linear(g, c) for g, c in zip(gathered.unbind(2), columns, strict=True)], gate * block.out.bias
