"""Graphs as tensors: what is read, what is refused and why, and what an absent row means."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.domain import Domain, GraphDomain
from zoo.domain.graph_files import read_graphs
from zoo.domain.inputs import inputs_of, read_input

DOMAIN = GraphDomain(
    classes=("a", "b"),
    features=("charge", "element = C", "element = O"),
    mean=(1.0, 0.0, 0.0),
    std=(2.0, 1.0, 1.0),
    edge_features=("length",),
    nodes=4,
    edges=4,
)
WATER = {"nodes": [{"charge": 3, "element": "O"}, {"charge": -1.0, "element": "C"}], "edges": [[0, 1, {"length": 7}]]}
PLAIN = GraphDomain(classes=("a", "b"), nodes=4, edges=4)
ARROWS = GraphDomain(classes=("a", "b"), nodes=4, edges=4, directed=True)
C: dict[str, Any] = {"charge": 0, "element": "C"}


def test_a_graph_is_a_row_for_each_node_and_edge() -> None:
    x = DOMAIN.preprocess(json.dumps(WATER))
    assert x.shape == DOMAIN.shape == (8, 4)
    assert x[0].tolist() == [1, 1, 0, 1] and x[1].tolist() == [1, -1, 1, 0] and x[4].tolist() == [1, 0, 1, 7]
    assert not x[[2, 3, 5, 6, 7]].any()
    graph = DOMAIN.graph(x)
    assert graph.names == ("O0", "C1") and graph.ends == ((0, 1),) and graph.edges == (0,)
    assert graph.features.tolist() == [[3, 0, 1], [-1, 1, 0]] and graph.attributes.tolist() == [[7]]
    assert Domain.from_dict(json.loads(json.dumps(DOMAIN.to_dict()))) == DOMAIN


def test_a_removed_node_takes_its_edges_along() -> None:
    x = PLAIN.preprocess('{"nodes": 3, "edges": [[0, 1], [1, 2]]}')
    x[0] = 0
    graph = PLAIN.graph(x)
    assert graph.names == ("1", "2") and graph.edges == (1,) and graph.ends == ((0, 1),)


def test_names_are_those_of_the_file() -> None:
    text = '{"nodes": [{"name": "Ann"}, {"name": "Bob"}], "edges": [["Bob", "Ann"]]}'
    assert PLAIN.graph(PLAIN.preprocess(text), text).names == ("Ann", "Bob")


READ: list[tuple[GraphDomain, Any, int, str]] = [  # the number of edges, and the beginning of a warning
    (PLAIN, {"nodes": 1}, 0, ""),
    (PLAIN, {"nodes": 3, "edges": []}, 0, ""),
    (PLAIN, {"nodes": 2, "edges": [[0, 0], [0, 1]]}, 1, "1 edge leads from a node to itself"),
    (PLAIN, {"nodes": 2, "edges": [[0, 0], [1, 1]]}, 0, "2 edges lead from a node to itself"),
    (PLAIN, {"nodes": 2, "edges": [[0, 1], [0, 1]]}, 1, "1 edge is given more than once"),
    (PLAIN, {"nodes": 2, "edges": [[0, 1], [1, 0]]}, 1, ""),  # one edge, written in both directions
    (PLAIN, {"nodes": 3, "edges": [[0, 1], [1, 0], [1, 2]]}, 2, ""),
    (ARROWS, {"nodes": 2, "edges": [[0, 1], [1, 0]]}, 2, ""),
    (ARROWS, {"nodes": 2, "edges": [[0, 1], [0, 1]]}, 1, "1 edge is given more than once"),
    (DOMAIN, {"nodes": [{"charge": 0, "element": "Xe"}]}, 0, "The model does not know element = Xe."),
    (DOMAIN, {"nodes": [[0, 1, 0]]}, 0, ""),
    (PLAIN, {"nodes": [[], []], "edges": [[0, 1, []]]}, 1, ""),
]


@pytest.mark.parametrize(("domain", "graph", "edges", "warning"), READ)
def test_what_is_read_with_or_without_a_warning(domain: GraphDomain, graph: Any, edges: int, warning: str) -> None:
    text = json.dumps(graph)
    x = domain.preprocess(text)
    assert len(domain.graph(x).edges) == edges
    warnings = domain.warnings(text, x)
    assert [w.startswith(warning) for w in warnings] == [True] * bool(warning)


TEXTS = ["", "{", "null", "[]", "3", '"graph"', "{}", '{"edges": []}', "[" * 5000, "\x00", "nodes,edges"]
COUNTS = [0, -1, True, 1.5, "2", None, {}, [], 10**7, 5, 1000]
FEATURES = [
    ([1], "the features of node 0 must be"),
    ([None], "the features of node 0 must be"),
    (["C"], "the features of node 0 must be"),
    ([{}], "node 0 has no value of 'charge'"),
    ([C, {"charge": 1}], "node 1 has no value of 'element'"),
    ([{**C, "colour": 1}], "node 0 has a feature 'colour'"),
    ([{"chrge": 1, "element": "C"}], "did you mean 'charge'"),
    ([[0, 1]], "node 0 has 2 features; expected 3"),
    ([[0, 1, 0, 0]], "node 0 has 4 features; expected 3"),
    ([[0, 1, float("nan")]], "node 0, feature 2 is nan; expected a finite number"),
    *(
        ([{"charge": value, "element": "C"}], "node 0, 'charge' is")
        for value in (float("nan"), float("inf"), -float("inf"), 1e39, 10**400, "heavy", None, [], {}, "nan")
    ),
    ([{"name": "x", **C}, {"name": "x", **C}], "the name 'x' belongs to several nodes"),
]
EDGES = [
    ({}, "'edges' must be a list of pairs"),
    ("0-1", "'edges' must be a list of pairs"),
    (None, "'edges' must be a list of pairs"),
    *(([edge], "edge 0 must be") for edge in (None, 3, "01", [], [0], [0, 1, {}, 1], {"a": 0})),
    *(([[0, end]], "edge 0 has an end") for end in (2, -1, 1.0, None, True, "Bob", [1], 10**30)),
    *(([[0, 1, features]], "the features of edge 0 must be") for features in (3, None, "single", True)),
    ([[0, 1]], "edge 0 has no value of 'length'"),
    ([[0, 1, {"lenth": 1}]], "did you mean 'length'"),
    ([[0, 1, [1, 2]]], "edge 0 has 2 features; expected 1"),
    ([[0, 1, {"length": float("nan")}]], "edge 0, 'length' is nan"),
    ([[0, 1, {"length": 1}], [1, 0, {"length": 2}]], "edges 0 and 1 join the same nodes and have different features"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"the graph is not JSON|the graph has no 'nodes'"):
        DOMAIN.preprocess(text)


@pytest.mark.parametrize("nodes", COUNTS)
def test_a_wrong_number_of_nodes_is_refused(nodes: Any) -> None:
    with pytest.raises(ValueError, match=r"no nodes|'nodes' must be|has -?\d+ nodes; the"):
        PLAIN.preprocess(json.dumps({"nodes": nodes}))


@pytest.mark.parametrize(("nodes", "message"), FEATURES)
def test_wrong_features_are_refused(nodes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DOMAIN.preprocess(json.dumps({"nodes": nodes}))


@pytest.mark.parametrize(("edges", "message"), EDGES)
def test_wrong_edges_are_refused(edges: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DOMAIN.preprocess(json.dumps({"nodes": [C, C], "edges": edges}))


def test_a_graph_that_is_too_large_names_the_option() -> None:
    with pytest.raises(
        ValueError, match=r"has 5 nodes; the model reads at most 4\. Train with data whose option `nodes`"
    ):
        PLAIN.preprocess('{"nodes": 5}')
    edges = [[a, b] for a in range(4) for b in range(a)]
    with pytest.raises(ValueError, match="has 6 edges; the model reads at most 4"):
        PLAIN.preprocess(json.dumps({"nodes": 4, "edges": edges}))


@pytest.mark.parametrize("end", [-1.0, 4.0, 0.5])
def test_a_tensor_whose_edges_lead_nowhere_is_refused(end: float) -> None:
    x = PLAIN.example(3, torch.Generator().manual_seed(0))
    PLAIN.check(x, "Model")
    x[1, 4, 2] = end
    with pytest.raises(ValueError, match="ends of edge 0 in row 1 of the batch; expected whole numbers from 0 to 3"):
        PLAIN.check(x, "Model")


def test_a_domain_that_does_not_fit_itself_is_refused() -> None:
    for wrong, message in (
        ({"nodes": 0}, "1 to 4096 nodes"),
        ({"edges": 5000}, "0 to 4096 edges"),
        ({"features": ("a", "a")}, "features must be different"),
        ({"features": ("a",), "mean": (0.0, 1.0)}, "mean needs one number"),
        ({"edge_features": ("a",), "edge_std": (0.0,)}, "edge_std must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            GraphDomain(**{"classes": ("a", "b"), "nodes": 4, "edges": 4, **wrong})


def test_files_of_graphs(tmp_path: Path) -> None:
    lines = tmp_path / "graphs.jsonl"
    lines.write_text(json.dumps(WATER) + "\n\n" + json.dumps({"nodes": [C]}) + "\n")
    (tmp_path / "one.json").write_text(json.dumps(WATER, indent=1))
    assert len(read_graphs(lines)) == 2
    found = list(inputs_of([str(tmp_path)], DOMAIN))
    assert [one.stem for one in found] == ["graphs-row-1", "graphs-row-2", "one"]
    assert torch.equal(read_input(found[0], DOMAIN).x, read_input(found[2], DOMAIN).x)
    with pytest.raises(ValueError, match="2 graphs; expected one"):
        DOMAIN.raw(lines)


def write_tables(folder: Path) -> None:
    (folder / "graphs.csv").write_text("graph,label\ng1,acid\ng2,base\n")
    (folder / "nodes.csv").write_text("graph,node,charge,element\ng1,a,3,O\ng1,b,-1,C\ng2,a,0,C\n")
    (folder / "edges.csv").write_text("graph,source,target,length\ng1,a,b,7\n")


def test_three_tables_are_the_same_graphs(tmp_path: Path) -> None:
    write_tables(tmp_path)
    found = list(inputs_of([str(tmp_path)], DOMAIN))  # the tables of nodes and edges are no inputs of their own
    assert [one.stem for one in found] == ["graphs-row-1", "graphs-row-2"]
    reading = read_input(found[0], DOMAIN)
    assert torch.equal(reading.x, DOMAIN.preprocess(json.dumps(WATER)))
    assert DOMAIN.graph(reading.x, reading.text).names == ("a", "b")


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("graphs", "g1,acid", "the graph 'g1' is in the table already"),
        ("nodes", "g3,a,0,C", "there is no graph 'g3' in graphs.csv"),
        ("nodes", "g1,a,0,C", "node 'a' of graph 'g1' has no name, or one that occurs twice"),
        ("edges", "g2,a,b,1", "graph 'g2' has no node 'b'"),
        ("edges", "g2,a", "line 3"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_the_line(tmp_path: Path, table: str, line: str, message: str) -> None:
    write_tables(tmp_path)
    with (tmp_path / f"{table}.csv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        read_graphs(tmp_path / "graphs.csv")
    with pytest.raises(ValueError, match=r"graphs are read from graphs\.csv"):
        read_graphs(tmp_path / "nodes.csv")
    (tmp_path / "edges.csv").unlink()
    with pytest.raises((FileNotFoundError, ValueError)):
        read_graphs(tmp_path / "graphs.csv")
