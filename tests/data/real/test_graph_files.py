"""The user's own graphs: columns, splits, and errors that name the graph."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.data import GraphFiles


def write(path: Path, graphs: list[Any]) -> str:
    path.write_text("".join(json.dumps(graph) + "\n" for graph in graphs))
    return str(path)


def graphs(count: int = 10, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "nodes": [{"mass": i, "element": "C"}, {"mass": i + 1, "element": "O" if i % 2 else "N"}],
            "edges": [[0, 1, {"kind": "single"}]],
            "label": "odd" if i % 2 else "even",
            **more,
        }
        for i in range(count)
    ]


def test_columns_are_numbers_and_categories_of_the_training_graphs(tmp_path: Path) -> None:
    data = GraphFiles(write(tmp_path / "g.jsonl", graphs()))
    domain = data.make_domain()
    assert domain.features == ("mass", "element = C", "element = N", "element = O")
    assert domain.edge_features == ("kind = single",) and domain.classes == ("even", "odd")
    assert domain.shape == (3, 5)
    rows = torch.cat([data.items("train", True).inputs[:, :2, 1]]).double()
    assert abs(float(rows.mean())) < 1e-6 and abs(float(rows.std(correction=0)) - 1) < 1e-6
    assert domain.mean[1:] == (0.0,) * 3 and domain.std[1:] == (1.0,) * 3
    assert len(data.items("test", False)) == 2 and len(data.train_dataset()) + len(data.val_dataset()) == 8
    numbers = GraphFiles(write(tmp_path / "g.jsonl", graphs()), categories=["mass"]).make_domain()
    assert "mass = 0" in numbers.features and "mass" not in numbers.features


def test_tables_give_the_same_data_as_lines(tmp_path: Path) -> None:
    made = graphs(split="train") + graphs(4, split="test")
    lines = GraphFiles(write(tmp_path / "g.jsonl", made))
    table = {
        "graphs": "graph,label,split\n",
        "nodes": "graph,node,mass,element\n",
        "edges": "graph,source,target,kind\n",
    }
    for i, graph in enumerate(made):
        table["graphs"] += f"{i},{graph['label']},{graph['split']}\n"
        table["nodes"] += "".join(
            f"{i},{n},{node['mass']},{node['element']}\n" for n, node in enumerate(graph["nodes"])
        )
        table["edges"] += f"{i},0,1,single\n"
    for name, text in table.items():
        (tmp_path / f"{name}.csv").write_text(text)
    tables = GraphFiles(str(tmp_path))
    assert tables.make_domain() == lines.make_domain()
    for split in ("train", "test"):
        assert torch.equal(tables.items(split, False).inputs, lines.items(split, False).inputs)
        assert torch.equal(tables.items(split, False).targets, lines.items(split, False).targets)


def test_values_can_be_predicted(tmp_path: Path) -> None:
    made = [graph | {"energy": i / 2} for i, graph in enumerate(graphs())]
    data = GraphFiles(write(tmp_path / "g.jsonl", made), label="energy", task="regression")
    assert data.make_domain().classes == ("energy",) and data.items("train", True).targets.shape == (8, 1)
    with pytest.raises(ValueError, match="graph 1: the label is 'even'; expected a number"):
        GraphFiles(write(tmp_path / "g.jsonl", graphs()), task="regression").make_domain()


def broken(change: Any, at: int = 3) -> list[Any]:
    found = graphs()
    found[at] = {**found[at], **change}
    return found


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (broken({"nodes": []}), "graph 4: the graph has no nodes"),
        (broken({"edges": [[0, 2]]}), "graph 4: edge 0 has an end 2; the graph has nodes 0 to 1"),
        (broken({"label": " "}), "graph 4: the label is empty"),
        (broken({"split": "tests"}), "graph 4: split must be one of train, val, test; got 'tests'"),
        (broken({"nodes": [[1, 2], [1, 2]]}), "must be given by name, or as lists of one length"),
        ([{"nodes": 1, "lable": "a"}], "graph 1: there is no 'label'; did you mean 'lable'"),
        (graphs(split="test"), "no graphs to train on"),
        (graphs(1), "1 class to train on"),
        (
            [g | {"nodes": [{"mass": float("nan"), "element": "C"}] * 2} for g in graphs()],
            "graph 1: node 0, 'mass' is nan",
        ),
        (graphs(split="train") + graphs(2, split="test", label="prime"), "classes that the train split lacks: prime"),
        (
            graphs(split="train") + graphs(2, split="test", nodes=[{"mass": 1}] * 2),
            "graph 11: node 0 has no value of 'element'",
        ),
        (
            [g | {"nodes": [{"mass": "a" * (i + 1) + str(k)} for k in range(60)]} for i, g in enumerate(graphs())],
            "'mass' has more than 100 different values",
        ),
    ],
)
def test_broken_files_are_refused_with_the_graph(tmp_path: Path, made: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data = GraphFiles(write(tmp_path / "g.jsonl", made))
        data.make_domain()
        data.items("test", False)


def test_options_limit_and_raise_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", graphs())
    assert GraphFiles(path, nodes=7, edges=9).make_domain().shape[0] == 16
    with pytest.raises(ValueError, match="graph 1: the graph has 2 nodes; the model reads at most 1"):
        GraphFiles(path, nodes=1).items("train", True)
    with pytest.raises(FileNotFoundError, match="no file of graphs"):
        GraphFiles(str(tmp_path / "none.jsonl")).make_domain()
