"""A transformer as a graph of the writers and readers of its residual stream."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.attention import sink_attention
from zoo.circuits.network.trace import with_positions
from zoo.circuits.network.transformer import Block, SparseNetwork, normalised
from zoo.training.language import last_positions


class Run(NamedTuple):
    """A forward pass along some of the paths.

    Attributes:
        written: output of each source, (B, T, d).
        streams: residual stream before each sublayer and after the last, (B, T, d).
        logits: (B, V), after the last token.
    """

    written: list[Tensor]
    streams: list[Tensor]
    logits: Tensor


class Graph:
    """The paths of a network, from each source to each later destination.

    Sources are the embedding, heads and MLPs; destinations are the queries, keys and values of each head, MLPs and the
    logits. The biases of attention's writes do not belong to a head and are always included.

    Args:
        network: the transformer.

    Attributes:
        sources: names of the sources.
        destinations: names of the destinations.
        exist: (S, D) bool, the existing paths.
        sublayer: index of the sublayer of each destination; 2 L for the logits.
        leads_to: index of the source that each destination belongs to; None for the logits.
    """

    def __init__(self, network: SparseNetwork) -> None:
        self.network, self.heads = network, network.blocks[0].heads
        self.sources, self.destinations = ["embedding"], []
        self.sublayer: list[int] = []
        self.leads_to: list[int | None] = []
        after = []  # number of sources before each destination

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
        """Runs the network along the kept paths.

        Args:
            tokens: (B, T).
            kept: (S, D) bool, on the CPU; by default all paths.
            others: value (B, T, d) that removed paths carry, for each source.
            prefix: a run with the same sublayers before `start`, whose results are reused.
            start: first sublayer to run.
        """
        net, kept = self.network, self.exist if kept is None else kept
        written, streams = [net.embed(tokens)], []
        if prefix is not None:
            before = 1 + start // 2 * (self.heads + 1) + start % 2 * self.heads
            written, streams = prefix.written[:before], prefix.streams[:start]
        streams.append(written[0] if prefix is None else prefix.streams[start])
        positions, per_layer = net.position_channels(tokens.shape[1]), 3 * self.heads + 1

        def reads(first: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
            """Groups `count` readers from `first` on by their paths: indices of a group, and its stream."""
            same, group = kept[: len(written), first : first + count].unique(dim=1, return_inverse=True)
            for g, column in enumerate(same.T):
                removed = (~column).nonzero()[:, 0].tolist()
                seen = streams[-1] + sum((others[s] - written[s] for s in removed), torch.zeros_like(streams[-1]))
                yield (group == g).nonzero()[:, 0].to(tokens.device), seen

        for sublayer in range(start, 2 * len(net.blocks)):
            layer, is_mlp = divmod(sublayer, 2)
            block, first = net.blocks[layer], layer * per_layer
            if is_mlp:
                ((_, stream),) = reads(first + 3 * self.heads, 1)
                channels = normalised(block.mlp_position_norm, positions)
                seen = abs_topk(with_positions(block.mlp_norm(stream), channels), net.kept["mlp_in"])
                neurons = abs_topk(F.gelu(block.up(seen)), net.kept["mlp_neuron"])
                written.append(abs_topk(block.down(neurons), net.kept["mlp_out"]))
                streams.append(streams[-1] + written[-1])
            else:
                writes, bias = self._attend(block, reads(first, 3 * self.heads), positions)
                written += writes
                streams.append(streams[-1] + sum(writes, bias))
        rows, last = last_positions(tokens)
        ((_, stream),) = reads(len(self.destinations) - 1, 1)
        return Run(written, streams, net.logits(stream[rows, last], tokens[rows, last]))

    def _attend(
        self, block: Block, reads: Iterator[tuple[Tensor, Tensor]], positions: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Output (B, T, d) of each head, and of their bias."""
        kept, readers, parts = self.network.kept, 3 * self.heads, {}
        channels = normalised(block.attn_position_norm, positions)
        weight, bias = block.qkv.weight.unflatten(0, (readers, -1)), block.qkv.bias.unflatten(0, (readers, -1))
        for which, stream in reads:
            seen = abs_topk(with_positions(block.attn_norm(stream), channels), kept["attn_in"])
            found = F.linear(seen, weight[which].flatten(0, 1), bias[which].flatten())
            parts |= dict(zip(which.tolist(), found.unflatten(-1, (len(which), -1)).unbind(-2), strict=True))
        qkv = torch.stack([parts[r] for r in range(readers)], -2).unflatten(-2, (3, self.heads))
        q, k, v = (
            abs_topk(t.flatten(-2), kept[f"attn_{name}"]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, t in zip("qkv", qkv.unbind(-3), strict=True)
        )
        gathered = sink_attention(q, k, v, block.sink).transpose(1, 2)  # (B, T, H, D)
        gate = abs_topk(block.out(gathered.flatten(2)), kept["attn_out"]) != 0  # of the sum over heads and bias
        columns = block.out.weight.unflatten(1, (self.heads, -1)).unbind(1)
        return [gate * F.linear(g, c) for g, c in zip(gathered.unbind(2), columns, strict=True)], gate * block.out.bias
