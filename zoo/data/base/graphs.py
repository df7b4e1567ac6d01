"""The base of data modules of graphs: names and scale of the features, and the size of an input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import GraphDomain
from zoo.domain.graph_text import IS, Features, GraphText, encode_features

LEVELS = 100  # categories of one feature


@dataclass(frozen=True)
class Graphs:
    """Graphs of one split.

    Attributes:
        graphs: N graphs.
        targets: (N,) classes, or (N, 1) values.
        names: N names.
    """

    graphs: list[GraphText]
    targets: Tensor
    names: list[str]


class GraphData(DataModule):
    """The base of data modules of graphs; a subclass defines `read` and sets `classes`, `task` and `smiles`.

    Features whose values are all numbers are standardised over the nodes of the training graphs; any others are
    categories, with a column for each value.

    Args:
        nodes: largest number of nodes that a model reads; by default that of the largest graph of all splits.
        edges: likewise of edges.
        directed: whether edges lead only from their first node to their second one.
        categories: features whose numbers are names of categories, such as atomic numbers.
        **loading: the options of `DataModule`.
    """

    classes: tuple[str, ...]
    task: str = "classification"
    smiles: str = ""

    def __init__(
        self,
        nodes: int | None = None,
        edges: int | None = None,
        directed: bool = False,
        categories: Sequence[str] = (),
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.nodes, self.edges, self.directed, self.categories = nodes, edges, directed, tuple(categories)

    def read(self) -> dict[str, Graphs]:
        """The splits by name: "train", "test", and optionally "val"."""
        raise NotImplementedError("a data module of graphs defines read()")

    @cached_property
    def splits(self) -> dict[str, Graphs]:
        """The splits by name."""
        return self.read()

    def make_domain(self) -> GraphDomain:
        return self._domain

    def items(self, split: str, training: bool) -> Rows:
        if split not in self._encoded:
            part, inputs = self.splits[split], []
            for graph, name in zip(part.graphs, part.names, strict=True):
                try:
                    inputs.append(self._domain.encode(graph))
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
            self._encoded[split] = Rows(torch.stack(inputs), part.targets, part.names)
        return self._encoded[split]

    @cached_property
    def _encoded(self) -> dict[str, Rows]:
        return {}

    @cached_property
    def _domain(self) -> GraphDomain:
        every = [graph for part in self.splits.values() for graph in part.graphs]
        train = self.splits["train"].graphs
        names = self.splits["train"].names
        nodes = scaled_columns([graph.nodes for graph in train], names, "node", self.categories)
        edges = scaled_columns([graph.edges for graph in train], names, "edge", self.categories)
        most = max(len({(a, b) if self.directed else (min(a, b), max(a, b)) for a, b in g.ends}) for g in every)
        return GraphDomain(
            classes=self.classes,
            task=self.task,
            features=nodes[0],
            mean=nodes[1],
            std=nodes[2],
            edge_features=edges[0],
            edge_mean=edges[1],
            edge_std=edges[2],
            nodes=self.nodes or max(len(graph.nodes) for graph in every),
            edges=most if self.edges is None else self.edges,
            directed=self.directed,
            smiles=self.smiles,
        )


def columns_of(rows: Iterable[Features], what: str, categories: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the columns of features: themselves if they are numbers, else "name = value" for each value.

    Args:
        rows: features of nodes or edges, by name or in order.
        what: "node" or "edge".
        categories: names of features that are no numbers, whatever their values.

    Raises:
        ValueError: a feature with too many values, or features that are given by name in one place only.
    """
    found: dict[str, dict[str, None]] = {}
    numbers: dict[str, bool] = {}
    ordered = set()
    for row in rows:
        if not isinstance(row, Mapping):
            ordered.add(len(row))
            continue
        for key, value in row.items():
            if key != "name":
                numbers[key] = numbers.get(key, key not in categories) and _is_number(value)
                if len(levels := found.setdefault(key, {})) <= LEVELS:
                    levels[str(value)] = None
    if ordered - {0} and (found or len(ordered) > 1):
        raise ValueError(f"the features of all {what}s must be given by name, or as lists of one length.")
    columns = [f"feature {k + 1}" for k in range(max(ordered, default=0))]
    for key, levels in found.items():
        if not numbers[key] and len(levels) > LEVELS:
            raise ValueError(
                f"the {what} feature '{key}' has more than {LEVELS} different values that are not all numbers; remove "
                "it, or correct its values."
            )
        columns += [key] if numbers[key] else [f"{key}{IS}{level}" for level in sorted(levels)]
    return tuple(columns)


def scaled_columns(
    graphs: Sequence[Sequence[Features]], names: Sequence[str], what: str, categories: Sequence[str]
) -> tuple[tuple[Any, ...], ...]:
    """Names of the columns, their means and their standard deviations; 0 and 1 of categories."""
    columns = columns_of([row for graph in graphs for row in graph], what, categories)
    if not columns:
        return (), (), ()
    found = []
    for graph, name in zip(graphs, names, strict=True):
        try:
            found.append(encode_features(graph, columns, what)[0])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    values = torch.cat(found).double()
    category = torch.tensor([IS in name for name in columns])
    mean, std = values.mean(0).masked_fill(category, 0.0), values.std(0, correction=0)
    return columns, tuple(mean.tolist()), tuple(std.masked_fill(category | (std < 1e-8), 1.0).tolist())


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
