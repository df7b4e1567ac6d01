"""Data sets of torch_geometric, here of a module in its place that has the attributes of its graphs."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from zoo.data import TorchGeometricData


def data(i: int, **more: Any) -> SimpleNamespace:
    """A path of three nodes, each edge in both directions."""
    ends = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    made = {"x": torch.full((3, 2), float(i)), "edge_index": ends, "edge_attr": torch.tensor([1.0, 1, 2, 2])}
    return SimpleNamespace(**{"num_nodes": 3, "y": torch.tensor([i % 2]), **made, **more})


@pytest.fixture(autouse=True)
def datasets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("torch_geometric.datasets")
    module.__all__ = ["Paths", "Values"]
    module.Paths = lambda count: [data(i) for i in range(count)]
    module.Values = lambda: [data(i, y=torch.tensor([0.5])) for i in range(3)]
    monkeypatch.setitem(sys.modules, "torch_geometric", ModuleType("torch_geometric"))
    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", module)
    return module


def test_edges_in_both_directions_are_one() -> None:
    made = TorchGeometricData("Paths", {"count": 10})
    domain, items = made.make_domain(), made.items("train", True)
    assert domain.features == ("feature 1", "feature 2") and domain.edge_features == ("feature 1",)
    assert domain.shape == (5, 4) and domain.classes == ("class 0", "class 1") and len(items) == 8
    graph = domain.graph(items.inputs[0])
    assert graph.ends == ((0, 1), (1, 2)) and graph.attributes.flatten().tolist() == [1, 2]
    both = TorchGeometricData("Paths", {"count": 10}, directed=True)
    assert both.make_domain().edges == 4


def test_graphs_without_features(datasets: ModuleType) -> None:
    datasets.Paths = lambda: [data(i, x=None, edge_attr=None) for i in range(10)]
    made = TorchGeometricData("Paths")
    assert made.make_domain().shape == (5, 3) and len(made.items("test", False)) == 2


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="torch_geometric has no data set 'Path'; did you mean 'Paths'"):
        TorchGeometricData("Path").make_domain()
    with pytest.raises(ValueError, match=r"graph 0 has the target .*; expected one class for each graph"):
        TorchGeometricData("Values").make_domain()
