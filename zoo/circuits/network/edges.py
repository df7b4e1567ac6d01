"""Edges: the non-zero weights between the nodes of a transformer, and their ablation."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.circuits.network.trace import Ablation
from zoo.circuits.network.transformer import SparseNetwork

# Matrices of a block: name, site that it reads, and sites that it writes, in the order of its rows.
MATRICES = (
    ("qkv", "attn_in", ("attn_q", "attn_k", "attn_v")),
    ("out", "attn_v", ("attn_out",)),
    ("up", "mlp_in", ("mlp_neuron",)),
    ("down", "mlp_neuron", ("mlp_out",)),
)


class Edges(NamedTuple):
    """Non-zero weights between nodes, which are numbered through all layers.

    Attributes:
        source: (E,) int64.
        destination: (E,) int64.
        weight: (E,).
    """

    source: Tensor
    destination: Tensor
    weight: Tensor

    def concat(self, other: "Edges") -> "Edges":
        """These edges followed by others."""
        return Edges(*(torch.cat(pair) for pair in zip(self, other, strict=True)))

    def select(self, which: Tensor | slice) -> "Edges":
        """Some of the edges, by a mask, indices or a slice."""
        return Edges(*(t[which] for t in self))

    def to(self, device: torch.device | str) -> "Edges":
        """These edges on another device."""
        return Edges(*(t.to(device) for t in self))


@dataclass(frozen=True)
class WeightMatrix:
    """A matrix of a block, as weights between nodes.

    Attributes:
        linear: the layer that holds it.
        layer: index of the block.
        name: "qkv", "out", "up" or "down".
        reads: nodes of its block that it reads.
        columns: numbers of the nodes of its columns.
        rows: numbers of the nodes of its rows.
    """

    linear: nn.Linear
    layer: int
    name: str
    reads: slice
    columns: range
    rows: range

    def find(self, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and index of the edges that belong to this matrix."""
        which = ((edges.destination >= self.rows.start) & (edges.destination < self.rows.stop)).nonzero().flatten()
        return edges.destination[which] - self.rows.start, edges.source[which] - self.columns.start, which

    def input_means(self, means: Tensor, gathered: Tensor) -> Tensor:
        """Means (n,) of the inputs of its columns, see `mean_ablation`."""
        return gathered[self.layer] if self.name == "out" else means[self.layer, self.reads]


def weight_matrices(network: SparseNetwork) -> list[WeightMatrix]:
    """The matrices of all blocks."""
    layout, found = network.layout, []
    for layer, block in enumerate(network.blocks):
        start = layer * layout.nodes
        linears = {"qkv": block.qkv, "out": block.out, "up": block.up, "down": block.down}
        for name, reads, writes in MATRICES:
            part, first, last = layout.part(reads), layout.part(writes[0]), layout.part(writes[-1])
            columns, rows = range(start + part.start, start + part.stop), range(start + first.start, start + last.stop)
            found.append(WeightMatrix(linears[name], layer, name, part, columns, rows))
    return found


def edges_between(network: SparseNetwork, mask: Tensor) -> Edges:
    """All non-zero weights between two nodes of a mask (L, N), matrix by matrix."""
    kept = mask.flatten().bool()
    source, destination, weights = [], [], []
    for matrix in weight_matrices(network):
        weight = matrix.linear.weight.detach()[:, : len(matrix.columns)]  # without the position channels
        rows, columns = kept[matrix.rows.start : matrix.rows.stop], kept[matrix.columns.start : matrix.columns.stop]
        row, column = ((weight != 0) & rows[:, None] & columns).nonzero(as_tuple=True)
        source.append(column + matrix.columns.start)
        destination.append(row + matrix.rows.start)
        weights.append(weight[row, column])
    return Edges(torch.cat(source), torch.cat(destination), torch.cat(weights))


def mean_ablation(network: SparseNetwork, means: Tensor, gathered: Tensor, mask: Tensor, removed: Edges) -> Ablation:
    """Mean ablation of the nodes outside a mask, and of some edges between the nodes inside it.

    An ablated edge (i, j) carries w_ji mean_i instead of w_ji x_i, which changes one weight and one bias.

    Args:
        network: its weights are not changed.
        means: (L, N), of all nodes.
        gathered: (L, d), means of what attention gathers, which the matrix "out" reads.
        mask: (L, N), the kept nodes.
        removed: ablated edges.
    """
    rewired = {}
    for matrix in weight_matrices(network):
        row, column, which = matrix.find(removed)
        if len(row):
            weight = matrix.linear.weight.detach().clone()
            weight[row, column] = 0
            lost = torch.zeros_like(matrix.linear.bias).index_add_(
                0, row, removed.weight[which] * matrix.input_means(means, gathered)[column]
            )
            rewired[matrix.layer, matrix.name] = (weight, matrix.linear.bias.detach() + lost)
    return Ablation(mask.float(), means, network.layout, rewired)
