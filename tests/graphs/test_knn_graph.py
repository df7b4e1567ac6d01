"""KNNGraph: probabilities are votes of the most similar stored cases, in nodes and in edges."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.small_models import GRAPHS, ROWS, Examples, build
from zoo.core.module import SelfInterpretable
from zoo.domain import GraphDomain
from zoo.graphs import KNNGraph
from zoo.graphs.layers.case_bank import representatives
from zoo.networks.graph_batch import GraphBatch
from zoo.training.projection_set import ProjectionSet

OPTIONS = {"dim": 3, "per_class": 3, "neighbours": 2, "edges": 6, "temperature": 0.5, "share": 0.3}
NODES = replace(GRAPHS, radius=2)


def parts(model: SelfInterpretable, x: Tensor, domain: GraphDomain, hops: int) -> tuple[Tensor, list[Tensor]]:
    """The vector of a case and those of its edges, one at a time."""
    states = model.project(model.backbone.nodes(GraphBatch.of(x[None], domain)))  # tested against a loop in test_gin
    nodes = [i for i in range(domain.nodes) if x[i, 0]]
    z = dict(zip(nodes, states, strict=True))
    ends = [tuple(map(int, row[1:3])) for row in x[domain.nodes :] if row[0]]
    ends = [pair for pair in ends if set(pair) <= set(nodes)]
    if domain.radius is None:
        return torch.stack(list(z.values())).mean(0), [(z[a] + z[b]) / 2 for a, b in ends]
    near = {0}
    for _ in range(hops):
        near |= {i for pair in ends if set(pair) & near for i in pair}
    return z[0], [(z[a] + z[b]) / 2 for a, b in ends if {a, b} <= near]


def likeness(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]]) -> float:
    (h, edges), (g, others) = one, other
    edges, others = edges or [h], others or [g]
    forth = sum(max(-float((e - o).norm()) for o in others) for e in edges) / len(edges)
    back = sum(max(-float((e - o).norm()) for e in edges) for o in others) / len(others)
    return (0.3 * -float((h - g).norm()) + 0.7 * (forth + back) / 2) / 0.5


@pytest.mark.parametrize("domain", [GRAPHS, NODES], ids=["graphs", "nodes"])
@torch.no_grad()
def test_probabilities_are_those_of_the_formula(domain: GraphDomain) -> None:
    small = build("knn_graph", domain=domain, **OPTIONS)
    model, x = small.model, small.inputs.clone()
    x[3, GRAPHS.nodes :] = 0  # no edges
    told = model.explain(x, reference="zero").check()
    stored = [
        (j, unit.target, unit.source["subgraphs"][0]["index"])
        for j, unit in enumerate(model.units())
        if "subgraphs" in unit.source
    ]
    assert [j for j, _, _ in stored] == model.bank.filled.nonzero().flatten().tolist()
    assert sorted(index for _, _, index in stored) == list(range(5))  # of five training cases all are kept
    cases = [parts(model, small.inputs[index], domain, 1) for _, _, index in stored]
    for b, one in enumerate(x):
        alike = [likeness(parts(model, one, domain, 1), case) for case in cases]
        best = sorted(range(5), key=lambda i: -alike[i])[:2]
        weight = torch.tensor([alike[i] for i in best]).softmax(0)
        expected = torch.zeros(3)
        for i, share in zip(best, weight, strict=True):
            expected[stored[i][1]] += share
            torch.testing.assert_close(told.activation[b, stored[i][0]], share, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(told.scores[b], expected, rtol=1e-4, atol=1e-5)
        found = told.details["similarity"][b, [j for j, _, _ in stored]]
        torch.testing.assert_close(found, torch.tensor(alike), rtol=1e-4, atol=1e-4)
    assert told.space == "probability" and torch.allclose(told.scores.sum(1), torch.ones(5))


@torch.no_grad()
def test_supports_are_the_edges_that_are_alike() -> None:
    small = build("knn_graph", domain=NODES, **OPTIONS)
    model, x = small.model, small.inputs
    told = model.explain(x)
    for b in range(5):
        own = next(
            j for j, unit in enumerate(model.units()) if unit.source.get("subgraphs", [{"index": -1}])[0]["index"] == b
        )
        support = told.support[b, own]
        assert float(support[0]) == 1  # a training case is itself the most similar one
        ends = [(j, *map(int, row[1:3])) for j, row in enumerate(x[b, GRAPHS.nodes :]) if row[0]]
        near = {0} | {i for _, c, d in ends if 0 in (c, d) for i in (c, d)}
        for j in range(GRAPHS.edges):
            pair = next((set(pair) for e, *pair in ends if e == j), {-1})
            assert float(support[GRAPHS.nodes + j]) == float(pair <= near)
        silent = [j for j in range(9) if told.activation[b, j] == 0]
        assert not told.support[b, silent].any()


def test_the_loss_is_that_of_the_formula() -> None:
    model = build("knn_graph", neighbours=1, negatives=30).model
    between = -torch.tensor([[0, 1, 2, 3], [1, 0, 2, 0.5], [2, 2, 0, 1], [3, 0.5, 1, 0]])
    target = torch.tensor([0, 0, 1, 0])
    e = between.exp()
    found = model._likelihood(between, target)  # case 2 has no other of its class
    expected = [(e[0, 1], e[0, 2]), (e[1, 3], e[1, 2]), (e[3, 1], e[3, 2])]
    torch.testing.assert_close(found, torch.stack([-(p / (p + n)).log() for p, n in expected]).mean())


def test_training_learns_from_views_and_other_cases() -> None:
    small = build("knn_graph")
    model = small.model.train()
    scores, evidence = model.step(small.inputs)
    terms = model.losses(scores, evidence, {"target": torch.tensor([0, 1, 0, 1, 0])})
    assert set(terms) == {"nll", "nodes", "edges"} and all(bool(term.isfinite()) for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.project.parameters())
    first, second = model._view(small.inputs), model._view(small.inputs)
    assert torch.equal(first[:, : GRAPHS.nodes, 0], small.inputs[:, : GRAPHS.nodes, 0])
    assert not torch.equal(first, second)


def test_representatives_are_spread_over_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    vectors = centres.repeat(10, 1) + 0.1 * torch.randn(30, 2, generator=generator)
    assert sorted(i % 3 for i in representatives(vectors, 3)) == [0, 1, 2]
    assert representatives(vectors[:2], 3) == [0, 1]
    assert len(set(representatives(torch.zeros(6, 2), 4))) == 4  # equal cases


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="KNNGraph reads graphs; got a domain of rows"):
        KNNGraph(ROWS)
    with pytest.raises(ValueError, match="neighbours must be at most 6, the number of stored cases"):
        KNNGraph(GRAPHS, per_class=2, neighbours=7)
    with pytest.raises(RuntimeError, match="no stored training cases"):
        KNNGraph(GRAPHS).explain(GRAPHS.example(1, torch.Generator()))
    model = KNNGraph(GRAPHS, recipe={"stages": [{"name": "train", "epochs": 1, "train": ["backbone"]}]})
    with pytest.raises(ValueError, match=r"add {name: gather}"):
        model.check_recipe()
    with pytest.raises(ValueError, match="class star has no training case"):
        model.gather(ProjectionSet(Examples(GRAPHS.example(2, torch.Generator()))))
