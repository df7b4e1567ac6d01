"""Data sets of torch_geometric, the extra `graph`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.graphs import GraphData, Graphs
from zoo.data.base.labelled_tables import HELD_OUT
from zoo.data.base.sampling import stratified_split
from zoo.domain.graph_text import GraphText
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need


class TorchGeometricData(GraphData):
    """Graphs with one class each, from a data set of torch_geometric; 20 % of every class are the test set.

    Features of nodes and edges are those of the data set, "feature 1" and so on. Most data sets are downloaded when
    they are first used. What torch_geometric reads from its folder may be code: use folders that you trust.

    Args:
        dataset: name of a class in `torch_geometric.datasets`, such as "TUDataset".
        options: its arguments, such as `{root: data, name: MUTAG}`.
        **graphs: the options of `GraphData`.

    Raises:
        ImportError: torch_geometric is not installed (the extra `graph`).
        ValueError: there is no such data set.
    """

    def __init__(self, dataset: str, options: Mapping[str, Any] | None = None, **graphs: Any) -> None:
        super().__init__(**graphs)
        self.dataset, self.options = dataset, dict(options or {})

    def read(self) -> dict[str, Graphs]:
        known = need("torch_geometric.datasets", "graph")
        if self.dataset not in known.__all__:
            raise ValueError(
                f"torch_geometric has no data set '{self.dataset}'; {did_you_mean(self.dataset, known.__all__)}"
            )
        found = list(getattr(known, self.dataset)(**self.options))
        labels = torch.tensor([self._label(data, i) for i, data in enumerate(found)])
        self.classes = tuple(f"class {c}" for c in range(int(labels.max()) + 1))
        graphs = [graph_of(data) for data in found]
        names = [f"{self.dataset} graph {i}" for i in range(len(found))]
        kept, held = stratified_split(labels, HELD_OUT, self.seed)
        return {
            split: Graphs([graphs[i] for i in rows], labels[rows], [names[i] for i in rows])
            for split, rows in (("train", kept), ("test", held))
        }

    def _label(self, data: Any, i: int) -> int:
        label: Tensor | None = data.y
        if label is None or label.numel() != 1 or label.is_floating_point() or int(label) < 0:
            raise ValueError(f"{self.dataset}: graph {i} has the target {label}; expected one class for each graph.")
        return int(label)


def graph_of(data: Any) -> GraphText:
    """A graph `torch_geometric.data.Data`; edges in both directions become one where a domain has no directions."""
    count = int(data.num_nodes)
    nodes = [[]] * count if data.x is None else data.x.view(count, -1).tolist()
    ends = [(int(a), int(b)) for a, b in data.edge_index.T.tolist()]
    attributes = getattr(data, "edge_attr", None)
    edges = [[]] * len(ends) if attributes is None else attributes.view(len(ends), -1).tolist()
    return GraphText(("",) * count, tuple(nodes), tuple(ends), tuple(edges), {})
