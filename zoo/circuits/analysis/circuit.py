"""A circuit: the nodes and edges of a weight-sparse transformer that a task needs; everything else is held at its mean.

A node is a coordinate of one of the eight sites of a block, an edge one non-zero weight between two nodes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.circuits.network.transformer import SITES, Ablation, Layout, SparseNetwork

# Each matrix of a block: its name, the site that it reads and those that it feeds, in the order of its rows.
MATRICES = (
    ("qkv", "attn_in", ("attn_q", "attn_k", "attn_v")),
    ("out", "attn_v", ("attn_out",)),
    ("up", "mlp_in", ("mlp_neuron",)),
    ("down", "mlp_neuron", ("mlp_out",)),
)


class Edges(NamedTuple):
    """Non-zero weights between nodes, whose numbers count through all layers.

    Attributes:
        source: (E,) int64.
        destination: (E,) int64.
        weight: (E,).
    """

    source: Tensor
    destination: Tensor
    weight: Tensor

    def and_(self, more: "Edges") -> "Edges":
        """These edges and more."""
        return Edges(*(torch.cat(pair) for pair in zip(self, more, strict=True)))

    def chosen(self, which: Tensor | slice) -> "Edges":
        """Some of the edges, by a mask or by number."""
        return Edges(*(t[which] for t in self))


@dataclass(frozen=True, eq=False)
class Circuit:
    """What a task needs of a network.

    Attributes:
        task: its name.
        layout: of the network.
        mask: (L, N) bool, the kept nodes.
        edges: between them, those that are kept.
        removed: edges that carry their mean; what else is left out ends at a node that is held at its mean.
        means: (L, N) of all nodes, which the others are held at.
        gathered: (L, d) means of what attention gathers, which an ablated edge from a value channel carries.
        node_effect: (n,) how much the task loss of the circuit rises when a node is ablated too, in the order of
            `nodes`.
        edge_effect: (E,) the same of each edge.
        samples: tokens (S, T) of some prompts of the task, and
        activations: (S, T, n) the values of the kept nodes on them.
        report: what was measured.
    """

    task: str
    layout: Layout
    mask: Tensor
    edges: Edges
    removed: Edges
    means: Tensor
    gathered: Tensor
    node_effect: Tensor
    edge_effect: Tensor
    samples: Tensor
    activations: Tensor
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> Tensor:
        """(n,) numbers of the kept nodes."""
        return self.mask.flatten().nonzero().flatten()

    def ablation(self, network: SparseNetwork) -> Ablation:
        """How this network is held at its means outside of the circuit.

        Raises:
            ValueError: the circuit belongs to a network of other sizes.
        """
        if network.layout != self.layout:
            raise ValueError(f"this circuit belongs to a network of {self.layout}; got one of {network.layout}.")
        device = network.embedding.weight.device
        tensors = (t.to(device) for t in (self.means, self.gathered, self.mask))
        return hold(network, *tensors, Edges(*(t.to(device) for t in self.removed)))

    def save(self, path: str | Path) -> None:
        """Writes the tensors to a safetensors file, and beside it a JSON that tells nodes, edges and report."""
        path = Path(path).with_suffix(".safetensors")
        names = ("mask", "means", "gathered", "node_effect", "edge_effect", "samples", "activations")
        tensors = {name: getattr(self, name).cpu().contiguous() for name in names}
        for kind in ("edges", "removed"):
            tensors |= {f"{kind}.{name}": t.cpu().contiguous() for name, t in getattr(self, kind)._asdict().items()}
        layout = {"layers": self.layout.layers, "width": self.layout.width, "neurons": self.layout.neurons}
        about = {"task": self.task, "layout": json.dumps(layout), "report": json.dumps(dict(self.report))}
        save_file(tensors, path, about)
        path.with_suffix(".json").write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> "Circuit":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file holds no circuit.
        """
        path = Path(path).with_suffix(".safetensors")
        if not path.is_file():
            raise FileNotFoundError(f"no circuit at {path}; `train.py prune --checkpoint ... --task ...` finds one.")
        try:
            with safe_open(str(path), framework="pt") as opened:
                about = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no dict)
        except SafetensorError as error:
            raise ValueError(f"{path} is no intact safetensors file ({error}).") from error
        if not {"task", "layout", "report"} <= about.keys():
            raise ValueError(f"{path} is a safetensors file but holds no circuit; expected one by Circuit.save().")
        for kind in ("edges", "removed"):
            tensors[kind] = Edges(*(tensors.pop(f"{kind}.{name}") for name in Edges._fields))
        layout = Layout(**json.loads(about["layout"]))
        return Circuit(task=about["task"], layout=layout, report=json.loads(about["report"]), **tensors)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the means as plain data: nodes by place, edges between their positions in that list."""
        numbers = self.nodes.tolist()
        position = {n: i for i, n in enumerate(numbers)}
        nodes = []
        for n, effect in zip(numbers, self.node_effect.tolist(), strict=True):
            layer, site, index = place(self.layout, n)
            nodes.append({"node": node_name(self.layout, n), "layer": layer, "site": site, "index": index})
            nodes[-1]["effect"] = effect
        edges = [
            {"from": position[a], "to": position[b], "weight": weight, "effect": effect}
            for a, b, weight, effect in zip(*(t.tolist() for t in self.edges), self.edge_effect.tolist(), strict=True)
        ]
        return {"task": self.task, "report": dict(self.report), "nodes": nodes, "edges": edges}


def hold(network: SparseNetwork, means: Tensor, gathered: Tensor, mask: Tensor, removed: Edges) -> Ablation:
    """How a network is held at its means outside of a mask (L, N) of nodes, and along some edges between these.

    A removed edge (i, j) carries its mean: w_ji mean_i in place of w_ji x_i, which is another weight and another bias.
    """
    rewired = {}
    for place in places(network):
        row, column, which = place.find(removed)
        if len(row):
            linear = getattr(network.blocks[place.layer], place.name)
            weight = linear.weight.detach().clone()
            weight[row, column] = 0
            lost = torch.zeros_like(linear.bias).index_add_(
                0, row, removed.weight[which] * place.means(means, gathered)[column]
            )
            rewired[place.layer, place.name] = (weight, linear.bias.detach() + lost)
    return Ablation(mask.float(), means, network.layout, rewired)


@dataclass(frozen=True)
class Place:
    """A matrix of a block among the nodes of a network.

    Attributes:
        layer, name: of the matrix.
        reads: the site of its columns.
        columns, rows: numbers of the nodes, through all layers, that its columns and rows belong to.
    """

    layer: int
    name: str
    reads: slice
    columns: range
    rows: range

    def find(self, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
        """Row and column of those edges that are entries of this matrix, and their numbers."""
        which = ((edges.destination >= self.rows.start) & (edges.destination < self.rows.stop)).nonzero().flatten()
        return edges.destination[which] - self.rows.start, edges.source[which] - self.columns.start, which

    def means(self, means: Tensor, gathered: Tensor) -> Tensor:
        """(n,) means of what its columns read."""
        return gathered[self.layer] if self.name == "out" else means[self.layer, self.reads]


def places(network: SparseNetwork) -> list[Place]:
    """The matrices of all blocks."""
    layout, found = network.layout, []
    for layer in range(layout.layers):
        start = layer * layout.nodes
        for name, reads, feeds in MATRICES:
            part, first, last = layout.part(reads), layout.part(feeds[0]), layout.part(feeds[-1])
            columns, rows = range(start + part.start, start + part.stop), range(start + first.start, start + last.stop)
            found.append(Place(layer, name, part, columns, rows))
    return found


def edges_of(network: SparseNetwork, mask: Tensor) -> Edges:
    """Every non-zero weight between two nodes of a mask (L, N), matrix by matrix."""
    kept = mask.flatten().bool()
    source, destination, weights = [], [], []
    for place in places(network):
        weight = getattr(network.blocks[place.layer], place.name).weight.detach()[:, : len(place.columns)]
        rows, columns = kept[place.rows.start : place.rows.stop], kept[place.columns.start : place.columns.stop]
        row, column = ((weight != 0) & rows[:, None] & columns).nonzero(as_tuple=True)
        source.append(column + place.columns.start)
        destination.append(row + place.rows.start)
        weights.append(weight[row, column])
    return Edges(torch.cat(source), torch.cat(destination), torch.cat(weights))


def place(layout: Layout, node: int) -> tuple[int, str, int]:
    """Layer, site and coordinate of a node.

    Raises:
        ValueError: there is no such node.
    """
    layer, rest = divmod(node, layout.nodes)
    for site in SITES:
        part = layout.part(site)
        if 0 <= layer < layout.layers and part.start <= rest < part.stop:
            return layer, site, rest - part.start
    raise ValueError(f"node {node} is out of range; there are {layout.layers * layout.nodes}, counted from 0.")


def node_name(layout: Layout, node: int) -> str:
    """What a node is called, such as "layer 0 attn_out 17"."""
    layer, site, index = place(layout, node)
    return f"layer {layer} {site} {index}"
