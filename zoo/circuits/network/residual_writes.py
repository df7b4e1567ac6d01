"""The contract of transformers whose units are what is written to the residual stream at the last token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.analysis.circuit import Circuit, node_name
from zoo.circuits.network.transformer import ATTENTION, MLP, Ablation, SparseNetwork, epsilon
from zoo.core.evidence import Evidence, Unit
from zoo.domain.text import PAD

WRITERS = {ATTENTION: "out", MLP: "down"}


class Writing:
    """Evidence, readout and contributions of a `network`; mix it in before SelfInterpretable.

    Units are, layer by layer, the channels that attention gathered, the bias of its write, the neurons and the bias of
    theirs; then the token's embedding and its row of the bigram table. Gates of AbsTopK and the scale of the last norm
    are those of the prompt; an intervention holds them, so that the score is a sum.

    Under a circuit, its other nodes (reads, queries, keys, values, channels written) are units as well, with their
    values at the last token. They act through the writes alone, so their own contributions are 0; `edges` are the
    circuit's weights.
    """

    adjustable: ClassVar[tuple[str, ...]] = ("circuit",)
    network: SparseNetwork
    _circuit: Circuit | None = None
    _ablation: Ablation | None = None

    def evidence(self, x: Tensor) -> Evidence:
        read = (x != PAD).sum(1) - 1
        rows = torch.arange(x.shape[0], device=x.device)
        visit = self.network.visit(self._ablation, record=self._circuit is not None)
        residual, written = self.network(x, visit, read)
        one = torch.ones(x.shape[0], 1, device=x.device)
        values = [part for layer in written for its in layer for part in (its.value, one)]
        values += [one] * (1 if self.network.bigram is None else 2)
        if self._circuit is not None:
            seen = [torch.cat([visit.values[i, s][rows, read] for s in self._sites], 1) for i in range(len(written))]
            values.append(torch.cat(seen, 1)[:, self._inner(self._circuit).to(x.device)])
        last = residual[rows, read].float()
        state = {
            "residual": residual,
            "token": x[rows, read],
            "gate": torch.stack([torch.stack([its.gate for its in layer], 1) for layer in written], 1),
            "constant": torch.stack([torch.stack([its.constant for its in layer], 1) for layer in written], 1),
            "scale": (last.square().mean(1) + epsilon(self.network.norm)).rsqrt(),
        }
        return Evidence(torch.cat(values, 1), state=state)

    def readout(self, evidence: Evidence) -> Tensor:
        net, state = self.network, evidence.state
        writes, embedding, bigram, _ = self._split(evidence.activation)
        h = embedding * net.embedding.weight.float()[state["token"]]
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            weight, constant, gate = self._writer(evidence, k)
            h = h + gate * F.linear(value, weight) + bias * constant
        scores = F.linear(h * state["scale"][:, None] * net.norm.weight.float(), net.unembedding.weight.float())
        return scores if net.bigram is None else scores + bigram * net.bigram.float()[state["token"]]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        net, token = self.network, evidence.state["token"]
        direction = net.unembedding.weight.float()[target] * net.norm.weight.float() * evidence.state["scale"][:, None]
        writes, embedding, bigram, inner = self._split(evidence.activation)
        parts = []
        for k, (value, bias) in enumerate(zip(writes[::2], writes[1::2], strict=True)):
            weight, constant, gate = self._writer(evidence, k)
            parts += [value * ((gate * direction) @ weight), bias * (constant * direction).sum(1, keepdim=True)]
        parts.append(embedding * (net.embedding.weight.float()[token] * direction).sum(1, keepdim=True))
        if net.bigram is not None:
            parts.append(bigram * net.bigram.float()[token, target][:, None])
        return torch.cat([*parts, torch.zeros_like(inner)], 1), torch.zeros_like(evidence.state["scale"])

    def slopes(self, evidence: Evidence) -> None:
        """None: (B, K, V) numbers would be too many to hand out."""

    def edges(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The weights of the circuit that is being explained, between columns of the activation."""
        if self._circuit is None:
            return None
        layout, writes = self.network.layout, len(self._name_units())
        column = torch.full((layout.layers * layout.nodes,), -1)
        inner = self._inner(self._circuit)
        column[inner] = torch.arange(writes, writes + len(inner))
        part, block = layout.part("mlp_neuron"), layout.width + layout.neurons + 2  # the units of a layer
        for layer in range(layout.layers):  # neurons are units already
            start = layer * block + layout.width + 1
            column[layer * layout.nodes :][part] = torch.arange(start, start + layout.neurons)
        source, destination, weight = self._circuit.edges
        rows = weight.to(evidence.activation).expand(evidence.activation.shape[0], -1)
        return column[source].to(rows.device), column[destination].to(rows.device), rows

    def units(self) -> tuple[Unit, ...]:
        names = self._name_units()
        if self._circuit is None:
            return names
        layout, nodes = self.network.layout, self._inner(self._circuit).tolist()
        return (*names, *(Unit(node_name(layout, node), "node") for node in nodes))

    @contextmanager
    def adjusted(self, circuit: Circuit | None = None) -> Iterator[None]:
        """The model with everything but a circuit held at its mean.

        Raises:
            TypeError, ValueError: no circuit, or one of another network.
        """
        if circuit is not None and not isinstance(circuit, Circuit):
            raise TypeError(
                f"circuit must be a zoo.circuits.Circuit; got {type(circuit).__name__}. Circuit.load(path)."
            )
        before = self._circuit, self._ablation
        self._circuit, self._ablation = circuit, None if circuit is None else circuit.ablation(self.network)
        try:
            yield
        finally:
            self._circuit, self._ablation = before

    @property
    def _sites(self) -> list[str]:
        return list(self.network.layout.sizes)

    def _inner(self, circuit: Circuit) -> Tensor:
        """Numbers of the circuit's nodes that are no units without it: all but the neurons."""
        layout, nodes = self.network.layout, circuit.nodes
        part, place = layout.part("mlp_neuron"), nodes % layout.nodes
        return nodes[(place < part.start) | (place >= part.stop)]

    def _split(self, activation: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor]:
        """The activations of each write and its bias, of the embedding, of the bigram row, and of a circuit's nodes."""
        layout, table = self.network.layout, int(self.network.bigram is not None)
        sizes = [size for _ in range(layout.layers) for n in (layout.width, layout.neurons) for size in (n, 1)]
        rest = activation.shape[1] - sum(sizes) - 1 - table
        *writes, embedding, bigram, inner = activation.split([*sizes, 1, table, rest], 1)
        return tuple(writes), embedding, bigram, inner

    def _writer(self, evidence: Evidence, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (d, n), constant (B, d) and gate (B, d) of write number k, as the circuit has them."""
        layer, kind = divmod(k, 2)
        linear = getattr(self.network.blocks[layer], WRITERS[kind])
        rewired = {} if self._ablation is None else self._ablation.rewired
        weight, bias = rewired.get((layer, WRITERS[kind]), (linear.weight, linear.bias))
        gate = evidence.state["gate"][:, layer, kind]
        return weight.float(), gate * bias.float() + evidence.state["constant"][:, layer, kind], gate

    def _name_units(self) -> tuple[Unit, ...]:
        if "_names" not in self.__dict__:
            self.__dict__["_names"] = tuple(_names(self.network))
        return self.__dict__["_names"]


def _names(network: SparseNetwork) -> Iterator[Unit]:
    layout = network.layout
    per_head = layout.width // network.blocks[0].heads
    for layer in range(layout.layers):
        for c in range(layout.width):
            head, channel = divmod(c, per_head)
            source = {"layer": layer, "site": "attn_v", "index": c}
            yield Unit(f"layer {layer} head {head} channel {channel}", "attention channel", source=source)
        yield Unit(f"layer {layer} attention bias", "bias", source={"layer": layer, "site": "attn_out"})
        for n in range(layout.neurons):
            source = {"layer": layer, "site": "mlp_neuron", "index": n}
            yield Unit(f"layer {layer} neuron {n}", "neuron", source=source)
        yield Unit(f"layer {layer} MLP bias", "bias", source={"layer": layer, "site": "mlp_out"})
    yield Unit("token embedding", "embedding")
    if network.bigram is not None:
        yield Unit("bigram table", "bigram")
