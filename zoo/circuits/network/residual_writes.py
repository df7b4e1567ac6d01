"""Evidence, readout and contributions of a transformer that is explained by its writes to the residual stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.trace import Ablation, epsilon
from zoo.circuits.network.transformer import ATTENTION, SparseNetwork
from zoo.circuits.network.unit_names import write_units
from zoo.core.evidence import Evidence, Unit
from zoo.training.language import last_positions
from zoo.utils.functional import at_least_fp32


class ResidualWrites:
    """Decomposes the scores of a network at the last token into its writes to the residual stream.

    Units are, for each layer, the channels that attention gathered, the bias of its write, the neurons and the bias of
    their write; then the token's embedding and its row of the bigram table. The gates of AbsTopK and the scale of the
    last norm are those of the prompt. Interventions keep them fixed, so that the score is a sum over units.

    Within a circuit, its other nodes (reads, queries, keys, values, written channels) are units too, with their values
    at the last token. They act only through the writes, so their own contributions are 0; `edges` are the weights of
    the circuit.

    Args:
        network: the transformer; the model that owns this object holds its parameters.
    """

    def __init__(self, network: SparseNetwork) -> None:
        self.network = network
        self.circuit: Circuit | None = None
        self._ablation: Ablation | None = None

    @contextmanager
    def within(self, circuit: Circuit | None) -> Iterator[None]:
        """Ablates everything outside a circuit in this context; None restores the whole network.

        Raises:
            TypeError: not a circuit.
            ValueError: the circuit belongs to another network.
        """
        if circuit is not None and not isinstance(circuit, Circuit):
            raise TypeError(
                f"circuit must be a zoo.circuits.Circuit; got {type(circuit).__name__}. Read a file with "
                "Circuit.load(path)."
            )
        before = self.circuit, self._ablation
        self.circuit, self._ablation = circuit, None if circuit is None else circuit.ablation(self.network)
        try:
            yield
        finally:
            self.circuit, self._ablation = before

    def evidence(self, x: Tensor) -> Evidence:
        """Evidence of prompts (B, T); the activation has one column per unit."""
        rows, read = last_positions(x)
        trace = self.network.trace(self._ablation, record=self.circuit is not None)
        residual, writes = self.network(x, trace, read)
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for layer in writes for write in layer for part in (write.value, one)]
        values += [one] * (1 if self.network.bigram is None else 2)
        if self.circuit is not None:
            sites = self.network.layout.sizes
            seen = [torch.cat([trace.values[i, s][rows, read] for s in sites], 1) for i in range(len(writes))]
            values.append(torch.cat(seen, 1)[:, self._inner_nodes(self.circuit).to(x.device)])
        last = at_least_fp32(residual[rows, read])
        state = {
            "residual": residual,
            "embedded": at_least_fp32(self.network.embed_at(x[rows, read], read)),
            "token": x[rows, read],
            "gate": torch.stack([torch.stack([write.gate for write in layer], 1) for layer in writes], 1),
            "constant": torch.stack([torch.stack([write.constant for write in layer], 1) for layer in writes], 1),
            "scale": (last.square().mean(1) + epsilon(self.network.norm)).rsqrt(),
        }
        return Evidence(torch.cat(values, 1), state=state)

    def readout(self, evidence: Evidence) -> Tensor:
        """Scores (B, V)."""
        net, state = self.network, evidence.state
        writes, embedding, bigram, _ = self._split(evidence.activation)
        h = embedding * state["embedded"]
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            weight, constant, gate = self._writer(evidence, k)
            h = h + gate * F.linear(value, weight) + bias * constant
        scores = F.linear(
            h * state["scale"][:, None] * at_least_fp32(net.norm.weight), at_least_fp32(net.unembedding.weight)
        )
        return scores if net.bigram is None else scores + bigram * at_least_fp32(net.bigram)[state["token"]]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, K) to the score of `target` (B,), and bias (B,), which is 0."""
        bigram = self.network.bigram
        rows = at_least_fp32(self.network.unembedding.weight)[target]
        return self._along(
            evidence, rows, None if bigram is None else at_least_fp32(bigram)[evidence.state["token"], target]
        )

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The mean of `attribute` over the vocabulary."""
        bigram = self.network.bigram
        rows = at_least_fp32(self.network.unembedding.weight).mean(0, keepdim=True)
        return self._along(
            evidence, rows, None if bigram is None else at_least_fp32(bigram)[evidence.state["token"]].mean(1)
        )

    def _along(self, evidence: Evidence, rows: Tensor, pair: Tensor | None) -> tuple[Tensor, Tensor]:
        """Contributions to a score whose unembedding is `rows` (B or 1, d), with `pair` (B,) of the bigram table."""
        direction = rows * at_least_fp32(self.network.norm.weight) * evidence.state["scale"][:, None]
        writes, embedding, bigram, inner = self._split(evidence.activation)
        parts = []
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            weight, constant, gate = self._writer(evidence, k)
            parts += [value * ((gate * direction) @ weight), bias * (constant * direction).sum(1, keepdim=True)]
        parts.append(embedding * (evidence.state["embedded"] * direction).sum(1, keepdim=True))
        if pair is not None:
            parts.append(bigram * pair[:, None])
        return torch.cat([*parts, torch.zeros_like(inner)], 1), torch.zeros_like(evidence.state["scale"])

    def edges(self, evidence: Evidence) -> tuple[Tensor, Tensor, Tensor] | None:
        """Weights of the circuit as (source column, destination column, weight (B, E)); None outside a circuit."""
        if self.circuit is None:
            return None
        layout, writes = self.network.layout, len(self._units)
        column = torch.full((layout.layers * layout.nodes,), -1)
        inner = self._inner_nodes(self.circuit)
        column[inner] = torch.arange(writes, writes + len(inner))
        part, block = layout.part("mlp_neuron"), layout.width + layout.neurons + 2  # units of a layer
        for layer in range(layout.layers):  # neurons are always units
            start = layer * block + layout.width + 1
            column[layer * layout.nodes :][part] = torch.arange(start, start + layout.neurons)
        source, destination, weight = self.circuit.edges
        rows = weight.to(evidence.activation).expand(evidence.activation.shape[0], -1)
        return column[source].to(rows.device), column[destination].to(rows.device), rows

    def units(self) -> tuple[Unit, ...]:
        """The units, in the order of the columns of the activation."""
        if self.circuit is None:
            return self._units
        layout, nodes = self.network.layout, self._inner_nodes(self.circuit).tolist()
        return (*self._units, *(Unit(layout.name(node), "node") for node in nodes))

    @cached_property
    def _units(self) -> tuple[Unit, ...]:
        layout = self.network.layout
        head_width = layout.width // self.network.blocks[0].heads
        units = [*write_units(layout.layers, layout.width, head_width, layout.neurons, "attn_v")]
        units.append(Unit("token embedding", "embedding"))
        return tuple(units) if self.network.bigram is None else (*units, Unit("bigram table", "bigram"))

    def _inner_nodes(self, circuit: Circuit) -> Tensor:
        """Numbers of the nodes of a circuit that are not units without it: all except the neurons."""
        layout, nodes = self.network.layout, circuit.nodes
        part, place = layout.part("mlp_neuron"), nodes % layout.nodes
        return nodes[(place < part.start) | (place >= part.stop)]

    def _split(self, activation: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor]:
        """Activations of each write and its bias, of the embedding, of the bigram row, and of the circuit's nodes."""
        layout, table = self.network.layout, int(self.network.bigram is not None)
        sizes = [size for _ in range(layout.layers) for n in (layout.width, layout.neurons) for size in (n, 1)]
        rest = activation.shape[1] - sum(sizes) - 1 - table
        *writes, embedding, bigram, inner = activation.split([*sizes, 1, table, rest], 1)
        return tuple(writes), embedding, bigram, inner

    def _writer(self, evidence: Evidence, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (d, n), constant (B, d) and gate (B, d) of write number k, with the ablation of the circuit."""
        layer, kind = divmod(k, 2)
        block = self.network.blocks[layer]
        name, linear = ("out", block.out) if kind == ATTENTION else ("down", block.down)
        rewired = {} if self._ablation is None else self._ablation.rewired
        weight, bias = rewired.get((layer, name), (linear.weight, linear.bias))
        gate = evidence.state["gate"][:, layer, kind]
        return at_least_fp32(weight), gate * at_least_fp32(bias) + evidence.state["constant"][:, layer, kind], gate
