"""A circuit: the nodes and edges that a task needs; all other nodes are fixed at their means.

A node is one coordinate of one of the eight sites of a block, an edge is one non-zero weight between two nodes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from zoo.circuits.network.edges import Edges, mean_ablation
from zoo.circuits.network.layout import Layout
from zoo.circuits.network.trace import Ablation
from zoo.circuits.network.transformer import SparseNetwork
from zoo.utils.atomic import write_bytes, write_text
from zoo.utils.json_text import to_json
from zoo.utils.tensor_bytes import tensor_bytes

TENSORS = ("mask", "means", "gathered", "node_effect", "edge_effect", "samples", "activations")


@dataclass(frozen=True, eq=False)
class Circuit:
    """The part of a network that a task needs.

    Attributes:
        task: name of the task.
        layout: of the network.
        mask: (L, N) bool, the kept nodes.
        edges: kept edges, all between kept nodes.
        removed: edges that carry their mean. All other edges outside the circuit end at an ablated node.
        means: (L, N), values of the ablated nodes.
        gathered: (L, d), means of what attention gathers, which an ablated edge of a value channel carries.
        node_effect: (n,), increase of the task loss when a node is ablated too, in the order of `nodes`.
        edge_effect: (E,), the same for each edge.
        samples: tokens (S, T) of some prompts of the task.
        activations: (S, T, n), values of the kept nodes on these prompts.
        report: measured quantities, see `zoo.circuits.analysis.effects`.
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
        """Numbers (n,) of the kept nodes."""
        return self.mask.flatten().nonzero().flatten()

    def ablation(self, network: SparseNetwork) -> Ablation:
        """Mean ablation of everything outside the circuit.

        Raises:
            ValueError: the circuit belongs to a network of other sizes.
        """
        if network.layout != self.layout:
            raise ValueError(f"this circuit belongs to a network of {self.layout}; got one of {network.layout}.")
        device = network.embedding.weight.device
        means, gathered, mask = (t.to(device) for t in (self.means, self.gathered, self.mask))
        return mean_ablation(network, means, gathered, mask, self.removed.to(device))

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, and next to it a JSON file with nodes, edges and report."""
        path = Path(path).with_suffix(".safetensors")
        tensors = {name: getattr(self, name).cpu().contiguous() for name in TENSORS}
        for kind in ("edges", "removed"):
            tensors |= {f"{kind}.{name}": t.cpu().contiguous() for name, t in getattr(self, kind)._asdict().items()}
        layout = {"layers": self.layout.layers, "width": self.layout.width, "neurons": self.layout.neurons}
        about = {"task": self.task, "layout": json.dumps(layout), "report": json.dumps(dict(self.report))}
        write_bytes(path, tensor_bytes(tensors, about))
        write_text(path.with_suffix(".json"), to_json(self.to_dict(), indent=1))

    @staticmethod
    def load(path: str | Path) -> "Circuit":
        """Reads a circuit written by `save`; the path may end in .safetensors or .json.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file does not contain a circuit.
        """
        path = Path(path).with_suffix(".safetensors")
        if not path.is_file():
            raise FileNotFoundError(f"no circuit at {path}; run `train.py prune --checkpoint ... --task ...` first.")
        try:
            with safe_open(str(path), framework="pt") as opened:
                about = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a valid safetensors file ({error}).") from error
        if not {"task", "layout", "report"} <= about.keys():
            raise ValueError(f"{path} does not contain a circuit; expected a file written by Circuit.save().")
        edges, removed = (
            Edges(*(tensors.pop(f"{kind}.{name}") for name in Edges._fields)) for kind in ("edges", "removed")
        )
        layout, report = Layout(**json.loads(about["layout"])), json.loads(about["report"])
        return Circuit(about["task"], layout, edges=edges, removed=removed, report=report, **tensors)

    def to_dict(self) -> dict[str, Any]:
        """Nodes, edges and report as plain data; edges refer to positions in the list of nodes."""
        numbers = self.nodes.tolist()
        position = {n: i for i, n in enumerate(numbers)}
        nodes = []
        for n, effect in zip(numbers, self.node_effect.tolist(), strict=True):
            layer, site, index = self.layout.locate(n)
            name = self.layout.name(n)
            nodes.append({"node": name, "layer": layer, "site": site, "index": index, "effect": effect})
        edges = [
            {"from": position[a], "to": position[b], "weight": weight, "effect": effect}
            for a, b, weight, effect in zip(*(t.tolist() for t in self.edges), self.edge_effect.tolist(), strict=True)
        ]
        return {"task": self.task, "report": dict(self.report), "nodes": nodes, "edges": edges}
