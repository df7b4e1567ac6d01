"""The nodes of the user's own network, in two tables or in JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.graphs import scaled_columns
from zoo.data.base.labelled_tables import HELD_OUT
from zoo.data.base.module import DataModule
from zoo.data.base.networks import NodeItems, NodeNetwork, with_room
from zoo.data.base.sampling import stratified_split
from zoo.data.base.splits import SPLITS, check_class_sizes, check_labels
from zoo.domain import GraphDomain
from zoo.domain.graph_files import TABLES, read_network
from zoo.domain.graph_text import GraphText, encode_features, parse_graph
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import expand


class NetworkFiles(DataModule):
    """The nodes of a network in nodes.csv and edges.csv, or in a JSON file; an input is what surrounds a node.

    `nodes.csv` has the columns node, label, optionally split (train, val, test), and one for each feature; `edges.csv`
    has source, target, and one for each feature. In JSON a node is {"name": "n1", "label": "a", "age": 3}, see
    `zoo.domain.graph_text`. Nodes without a label belong to the network and are not asked about. Without test nodes,
    20 % of those of every label are the test set. Features are scaled over all nodes of the network; a split tells
    whose labels are learnt from, while surroundings contain nodes of all splits, without their labels.

    Args:
        path: of the folder with the tables, or of the JSON file.
        label: name of the column with the label, or with the value to predict.
        radius: edges from a node to the furthest that is read; as many as a model has layers of messages.
        task: "classification" or "regression".
        directed: whether edges lead only from their first node to their second one.
        categories: features whose numbers are names of categories.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: unknown task, or a radius below 1.
    """

    def __init__(
        self,
        path: str,
        label: str = "label",
        radius: int = 2,
        task: str = "classification",
        directed: bool = False,
        categories: Sequence[str] = (),
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_choice(("classification", "regression"), task=task)
        check_at_least(1, radius=radius)
        self.path, self.label, self.radius, self.task = expand(path), label, radius, task
        self.directed, self.categories = directed, tuple(categories)

    @property
    def file(self) -> Path:
        """Of the nodes."""
        return self.path / TABLES["nodes"] if self.path.is_dir() else self.path

    @cached_property
    def _read(self) -> tuple[GraphText, dict[int, str], dict[str, list[int]]]:
        """The network without labels, the labels of nodes, and the nodes of each split."""
        networks = read_network(self.file)
        if len(networks) != 1:
            raise ValueError(f"{self.file} has {len(networks)} networks; expected one.")
        try:
            graph = parse_graph(networks[0])
        except ValueError as error:
            raise ValueError(f"{self.file}: {error}") from None
        nodes, labels, splits = [], dict[int, str](), dict[str, list[int]]()
        for i, node in enumerate(graph.nodes):
            given = dict(node) if isinstance(node, Mapping) else {}
            label, split = str(given.pop(self.label, "")).strip(), str(given.pop("split", "") or "train").strip()
            if label:
                try:
                    self._check(label, split)
                except ValueError as error:
                    raise ValueError(f"{self.file}, node '{graph.names[i] or i}': {error}") from None
                labels[i] = label
                splits.setdefault(split, []).append(i)
            nodes.append(given)
        if not labels:
            known = {key for node in graph.nodes if isinstance(node, Mapping) for key in node}
            raise ValueError(f"{self.file}: no node has a '{self.label}'; {did_you_mean(self.label, known)}")
        if not splits.get("train"):
            raise ValueError(f"{self.file} has no nodes to train on (splits: {', '.join(splits)}).")
        return GraphText(graph.names, tuple(nodes), graph.ends, graph.edges, {}), labels, splits

    def _check(self, label: str, split: str) -> None:
        check_choice(SPLITS, split=split)
        if self.task == "regression":
            try:
                float(label)
            except ValueError:
                raise ValueError(f"the label is '{label}'; expected a number.") from None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or of the value."""
        if self.task == "regression":
            return (self.label,)
        _, labels, splits = self._read
        named = {split: [labels[i] for i in nodes] for split, nodes in splits.items()}
        check_class_sizes(Counter(named["train"]), set(splits), self.file, "nodes")
        check_labels(named, self.file)
        return tuple(sorted(set(named["train"])))

    @cached_property
    def _made(self) -> tuple[NodeNetwork, GraphDomain]:
        graph, labels, _ = self._read
        name = [str(self.file)]
        nodes = scaled_columns([graph.nodes], name, "node", self.categories)
        edges = scaled_columns([graph.edges], name, "edge", self.categories)
        domain = GraphDomain(
            classes=self.classes,
            task=self.task,
            features=nodes[0],
            mean=nodes[1],
            std=nodes[2],
            edge_features=edges[0],
            edge_mean=edges[1],
            edge_std=edges[2],
            nodes=1,
            edges=0,
            directed=self.directed,
        )
        features = encode_features(graph.nodes, domain.features, "node")[0]
        attributes = encode_features(graph.edges, domain.edge_features, "edge")[0]
        try:
            ends, kept = domain.distinct_edges(graph, attributes)
        except ValueError as error:
            raise ValueError(f"{self.file}: {error}") from None
        network = NodeNetwork(features, torch.tensor(ends).view(-1, 2), attributes[kept], self.radius)
        return network, with_room(domain, network, list(labels))

    def make_domain(self) -> GraphDomain:
        return self._made[1]

    def items(self, split: str, training: bool) -> NodeItems:
        return self._items[split]

    @cached_property
    def _items(self) -> dict[str, NodeItems]:
        (network, domain), (graph, _, splits) = self._made, self._read
        if "test" not in splits:
            train = splits["train"]
            kept, held = stratified_split(self._targets(train), HELD_OUT, self.seed)
            splits = splits | {"train": [train[i] for i in kept], "test": [train[i] for i in held]}
        return {
            split: NodeItems(network, domain, nodes, self._targets(nodes), [graph.names[i] or str(i) for i in nodes])
            for split, nodes in splits.items()
        }

    def _targets(self, nodes: Sequence[int]) -> Tensor:
        labels = self._read[1]
        if self.task == "regression":
            return torch.tensor([[float(labels[i])] for i in nodes])
        number = {name: c for c, name in enumerate(self.classes)}
        return torch.tensor([number[labels[i]] for i in nodes])
