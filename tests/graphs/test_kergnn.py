"""KerGNN: the kernel is the sum over all pairs of walks, and the score a sum over filters."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.small_models import GRAPHS, ROWS, build
from zoo.graphs import KerGNN
from zoo.graphs.layers.walk_kernel import balls, kernel
from zoo.networks.graph_batch import GraphBatch
from zoo.views.subgraphs import subgraphs


def surroundings(x: Tensor, node: int, hops: int) -> tuple[list[int], set[frozenset[int]]]:
    present = {i for i in range(GRAPHS.nodes) if x[i, 0]}
    edges = {frozenset(map(int, row[1:3])) for row in x[GRAPHS.nodes :] if row[0]}
    edges = {edge for edge in edges if edge <= present and len(edge) == 2}
    near = {node}
    for _ in range(hops):
        near |= {i for edge in edges if edge & near for i in edge}
    return sorted(near), {edge for edge in edges if edge <= near}


def walks_from(start: int, length: int, weight: dict[tuple[int, int], float]) -> dict[int, float]:
    """The total weight of the walks of a length from a node, by their last node."""
    reached = {start: 1.0}
    for _ in range(length):
        ahead: dict[int, float] = {}
        for (a, b), w in weight.items():
            if a in reached:
                ahead[b] = ahead.get(b, 0.0) + reached[a] * w
        reached = ahead
    return reached


@torch.no_grad()
def test_the_kernel_is_the_sum_over_all_pairs_of_walks() -> None:
    model = build("kergnn", filters=2, filter_nodes=3, width=2, steps=3, hops=1).model
    x = GRAPHS.example(3, torch.Generator().manual_seed(2))
    x[2, 1] = 0  # a removed node
    batch = GraphBatch.of(x, GRAPHS)
    states = batch.per_node(model.embed(batch.features).relu())
    near, joined = balls(batch, 1)
    found = kernel(states, near, joined, model.filters.walks(3))
    z, adjacency = model.filters.features, model.filters.adjacency()
    assert torch.equal(adjacency, adjacency.mT) and not adjacency.diagonal(dim1=1, dim2=2).any()
    for b, one in enumerate(x):
        for node in [i for i in range(GRAPHS.nodes) if one[i, 0]]:
            nodes, edges = surroundings(one, node, 1)
            steps = {(a, c): 1.0 for edge in edges for a, c in (tuple(edge), tuple(edge)[::-1])}
            for f in range(2):
                weights = {(a, c): float(adjacency[f, a, c]) for a in range(3) for c in range(3) if a != c}
                total = 0.0
                for p in (1, 2, 3):
                    for u in range(3):
                        for v in nodes:
                            for u_end, first in walks_from(u, p, weights).items():
                                for v_end, second in walks_from(v, p, steps).items():
                                    start = float(z[f, u] @ states[b, v])
                                    total += start * float(z[f, u_end] @ states[b, v_end]) * first * second
                expected = total / (3 * len(nodes) * 3)
                assert float(found[b, node, f]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
@torch.no_grad()
def test_scores_are_sums_over_filters_and_nodes(pooling: str) -> None:
    small = build("kergnn", pooling=pooling)
    model, x = small.model, small.inputs
    model.norm.running_mean.fill_(0.1)
    model.norm.running_var.fill_(4.0)
    told = model.explain(x, 2, reference="zero").check()
    batch = GraphBatch.of(x, GRAPHS)
    states = batch.per_node(model.embed(batch.features).relu())
    values = kernel(states, *balls(batch, 2), model.filters.walks(2))
    fires = ((values - 0.1) / (4 + 1e-5) ** 0.5).relu() * x[:, : GRAPHS.nodes, :1]
    count = x[:, : GRAPHS.nodes, 0].sum(1)[:, None] if pooling == "mean" else 1
    torch.testing.assert_close(told.activation, fires.sum(1) / count)
    torch.testing.assert_close(told.contributions, fires.sum(1) / count * model.head.weight[2])
    most = fires.amax(1, keepdim=True)
    expected = torch.where(most > 0, fires / most.clamp_min(1e-30), 0.0).mT
    torch.testing.assert_close(told.support[:, :, : GRAPHS.nodes], expected)


def test_filters_are_drawn_with_their_weights() -> None:
    model = build("kergnn").model
    with torch.no_grad():
        model.filters.weights.copy_(torch.tensor([[2.0, 1.0, -1.0]]).expand(3, -1))
    unit = model.units()[1]
    (part,) = unit.source["subgraphs"]
    assert part["nodes"] == ["C", "C", "C"] and part["edges"] == [[0, 1], [0, 2]] and part["weights"] == [1.0, 0.5]
    html = subgraphs(unit)
    assert html.count("<line") == 2 and html.count("opacity:0.57") == 1 and "bold edges weigh most" in html
    plain = replace(GRAPHS, features=(), mean=(), std=())
    assert build("kergnn", domain=plain).model.units()[0].source["subgraphs"][0]["nodes"] == ["1", "2", "3"]


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="KerGNN reads graphs; got a domain of rows"):
        KerGNN(ROWS)
    with pytest.raises(ValueError, match="answers for graphs, and this data asks about nodes"):
        KerGNN(replace(GRAPHS, radius=2))
    with pytest.raises(ValueError, match="filter_nodes must be at least 2; got 1"):
        KerGNN(GRAPHS, filter_nodes=1)
    with pytest.raises(ValueError, match="pooling must be one of sum, mean; got 'max'"):
        KerGNN(GRAPHS, pooling="max")
    with pytest.raises(ValueError, match="268,435,456 numbers for a graph of 4,096 nodes"):
        KerGNN(replace(GRAPHS, nodes=4096))
