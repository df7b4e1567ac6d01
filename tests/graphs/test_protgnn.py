"""ProtGNN: similarities to vectors of subgraphs, which a search over connected subgraphs finds."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from tests.small_models import GRAPHS, ROWS, Examples, build
from zoo.graphs import ProtGNN
from zoo.graphs.layers.subgraph_search import nearest_subgraph
from zoo.networks.graph_batch import GraphBatch
from zoo.training.projection_set import ProjectionSet


def parts_of(x: Tensor) -> dict[frozenset[int], Tensor]:
    """All connected subgraphs of an input by their nodes, found by trying every set of nodes."""
    edges = [tuple(map(int, row[1:3])) for row in x[GRAPHS.nodes :] if row[0]]
    present, found = [i for i in range(GRAPHS.nodes) if x[i, 0]], {}
    for size in range(1, len(present) + 1):
        for nodes in map(frozenset, combinations(present, size)):
            reached, inner = {min(nodes)}, [set(e) for e in edges if nodes.issuperset(e)]
            for _ in nodes:
                reached |= {i for e in inner if e & reached for i in e}
            if reached == nodes:
                rows = x.clone()
                for i in range(GRAPHS.nodes):
                    rows[i] *= i in nodes
                for j in range(GRAPHS.nodes, len(x)):
                    rows[j] *= nodes.issuperset(x[j, 1:3].long().tolist())
                found[nodes] = rows
    return found


@torch.no_grad()
def test_scores_are_those_of_the_formula() -> None:
    small = build("protgnn")
    model, x = small.model, small.inputs
    evidence = model.step(x)[1]
    for b, one in enumerate(x):
        alone = one[None]
        states = model.backbone.nodes(GraphBatch.of(alone, GRAPHS))  # tested against a loop in test_gin
        z, scores = [max(column) for column in states.T.tolist()], torch.zeros(3)
        for j, p in enumerate(model.prototypes.vectors.tolist()):
            d = sum((a - b) ** 2 for a, b in zip(z, p, strict=True))
            similarity = float(torch.tensor((d + 1) / (d + 1e-4), dtype=torch.float64).log())
            torch.testing.assert_close(float(evidence.activation[b, j]), similarity, rtol=1e-4, atol=1e-4)
            scores += torch.tensor([1.0 if c == j else -0.5 for c in range(3)]) * similarity
        torch.testing.assert_close(model(alone)[0], scores, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_search_finds_the_nearest_of_all_connected_subgraphs() -> None:
    model, examples = build("protgnn").model, GRAPHS.example(4, torch.Generator().manual_seed(5))
    vector = torch.full((8,), 0.2)
    for x in examples:
        distance = {
            nodes: float((model.embed(rows[None])[0] - vector).square().sum())
            for nodes, rows in parts_of(x).items()
            if 2 <= len(nodes) <= 3
        }
        found = nearest_subgraph(x, vector, model.embed, GRAPHS, (2, 3), 100)
        nearest = min(distance, key=lambda nodes: distance[nodes])
        assert found.complete and found.distance == pytest.approx(distance[nearest])
        assert torch.equal(found.rows, parts_of(x)[nearest])
        narrow = nearest_subgraph(x, vector, model.embed, GRAPHS, (2, 3), 1)
        assert not narrow.complete and narrow.distance >= found.distance - 1e-6


@torch.no_grad()
def test_prototypes_are_stored_subgraphs_of_their_class() -> None:
    small = build("protgnn")
    model, data = small.model, Examples(small.inputs)
    torch.testing.assert_close(model.embed(model.prototypes.stored.rows[:, 0]), model.prototypes.vectors.detach())
    for unit in model.units():
        (part,) = unit.source["subgraphs"]
        assert int(data[part["index"]]["target"]) == unit.target
        assert part["graph"] == f"item {part['index']}" and 1 <= len(part["nodes"]) <= 3
        names = GRAPHS.graph(data[part["index"]]["input"]).names
        assert set(part["nodes"]) <= set(names)


@torch.no_grad()
def test_supports_are_the_nodes_that_the_largest_states_come_from() -> None:
    small = build("protgnn")
    model, x = small.model, small.inputs
    support = model.explain(x).support
    for b in range(len(x)):
        states = model.backbone.nodes(GraphBatch.of(x[b : b + 1], GRAPHS))
        for j, p in enumerate(model.prototypes.vectors):
            expected = torch.zeros(GRAPHS.nodes)
            for column, most in zip(states.T, p, strict=True):  # nodes are first in examples
                largest = [i for i, value in enumerate(column.tolist()) if value > float(column.max()) - 1e-6]
                for node in largest:  # two nodes with one edge have the same sum
                    expected[node] += float(torch.minimum(column.max(), most).clamp_min(0)) / len(largest)
            expected = expected / expected.max() if expected.max() else expected
            torch.testing.assert_close(support[b, j, : GRAPHS.nodes], expected)
            for e in range(GRAPHS.edges):
                present, first, second = x[b, GRAPHS.nodes + e, :3].tolist()
                lesser = float(torch.minimum(expected[int(first)], expected[int(second)])) if present else 0.0
                assert float(support[b, j, GRAPHS.nodes + e]) == pytest.approx(lesser)


@torch.no_grad()
def test_merging_copies_leaves_scores_unchanged() -> None:
    small = build("protgnn", prototypes_per_class=2, graphs=1, sizes=[1, 1], beam=1)
    model, x = small.model, small.inputs
    model.prototypes.alive.fill_(True)
    model.prototypes.vectors[1] = model.prototypes.vectors[0]
    model.head.weight.copy_(torch.rand(3, 6))
    before = model(x)
    model.prune(ProjectionSet(Examples(x)))
    assert not model.prototypes.alive[1] and model.units()[1].source["pruned"]
    torch.testing.assert_close(model(x), before)
    torch.testing.assert_close(model.explain(x).without(["circle #2"]), model.explain(x).relative_score.float())


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="ProtGNN reads graphs; got a domain of rows"):
        ProtGNN(ROWS)
    with pytest.raises(ValueError, match=r"smallest and the largest number of nodes .* got \[3, 2\]"):
        ProtGNN(GRAPHS, sizes=[3, 2])
    with pytest.raises(RuntimeError, match="not subgraphs of training graphs"):
        ProtGNN(GRAPHS).explain(GRAPHS.example(1, torch.Generator()))
    model = ProtGNN(GRAPHS, recipe={"stages": [{"name": "train", "epochs": 1, "train": ["backbone", "head"]}]})
    with pytest.raises(ValueError, match=r"add {name: push} and a stage that trains head alone"):
        model.check_recipe()
    with pytest.raises(ValueError, match="class star has no training graph, with a node"):
        model.push(ProjectionSet(Examples(GRAPHS.example(2, torch.Generator()))))
