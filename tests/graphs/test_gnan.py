"""GNAN against the formula over all pairs of nodes, and the properties of the sum."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_models import GRAPHS, ROWS, build
from zoo.graphs import GNAN
from zoo.graphs.layers.distances import Counts, distance_counts
from zoo.networks.graph_batch import GraphBatch

BINARY = replace(GRAPHS, classes=("no", "yes"))


def distances(x: Tensor, nodes: int) -> Tensor:
    """(n, n) shortest paths by the algorithm of Floyd and Warshall; infinite where there is none."""
    far = torch.full((nodes, nodes), torch.inf)
    here = [i for i in range(nodes) if x[i, 0]]
    far[here, here] = 0
    for present, a, b in x[nodes:, :3].tolist():
        if present and x[int(a), 0] and x[int(b), 0]:
            far[int(a), int(b)] = far[int(b), int(a)] = 1
    for k in range(nodes):
        far = torch.minimum(far, far[:, k, None] + far[None, k])
    return far


def by_pairs(model: GNAN, x: Tensor) -> Tensor:
    """The sum over pairs (B, n of i, n of j, K, D, C'), one graph, pair and feature at a time, as in the paper."""
    graphs, profile = model.graphs, model.profile()
    cells = torch.zeros(len(x), graphs.nodes, graphs.nodes, len(model.units()), len(profile), profile.shape[1])
    for b, one in enumerate(x):
        far = distances(one, graphs.nodes)
        for i, j in (far <= model.furthest).nonzero().tolist():
            d = int(far[i, j])
            for k in range(len(model.units())):
                if k == 0:
                    value = torch.ones(1)
                elif k <= len(graphs.features):
                    value = one[j, k : k + 1] * graphs.std[k - 1] + graphs.mean[k - 1]
                else:
                    value = (far[j] == 1).sum()[None].float()
                share = 1 / (far[i] == d).sum()
                cells[b, i, j, k, d] = profile[d] * share * model.function(k, value)[0]
    return cells


@pytest.mark.parametrize("domain", [GRAPHS, BINARY, replace(GRAPHS, mean=(2.0, 0.0), std=(3.0, 1.0))])
def test_it_is_the_formula_over_all_pairs_of_nodes(domain: Any) -> None:
    model = build("gnan", domain=domain, furthest=2).model
    x = domain.example(4, torch.Generator().manual_seed(3))
    x[1, domain.nodes :] = 0  # nothing is connected
    x[2, 0] = 0  # a removed node
    cells = by_pairs(model, x)
    explanation = model.explain(x, 1, reference="zero").check()
    half = 0.5 if cells.shape[-1] == 1 else 1.0  # the two scores are -1/2 and 1/2 of the log-odds
    total = cells[..., -1 if cells.shape[-1] == 1 else 1] * half
    for found, expected in (
        (explanation.contributions, total.sum((1, 2, 4))),
        (explanation.details["by node"], total.sum((1, 4)).transpose(1, 2)),
        (explanation.details["by distance"], total.sum((1, 2))),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    nodes = explanation.details["by node"].abs()
    if half == 0.5:
        share = nodes / nodes.amax(2, keepdim=True).clamp_min(1e-30)
        torch.testing.assert_close(explanation.support[..., : domain.nodes], share, rtol=1e-4, atol=1e-6)
    assert not explanation.support[..., domain.nodes :].any()


def test_an_unconnected_node_adds_its_own_terms_only() -> None:
    """What a node contributes without edges depends on nothing else in the graph, and changes nothing else."""
    small = build("gnan")
    model, x = small.model, GRAPHS.example(20, torch.Generator().manual_seed(5))
    x = x[x[:, 4, 0] == 0][:2]  # with room for another node
    assert len(x)
    more, alone = x.clone(), torch.zeros_like(x)
    more[:, 4, :3] = alone[:, 4, :3] = torch.tensor([1.0, 0.3, -0.7])
    with torch.no_grad():
        bias = model.bias.expand(len(x), -1)
        torch.testing.assert_close(model(more) - model(x), model(alone) - bias)


def test_counts_are_remembered_up_to_a_number() -> None:
    x = GRAPHS.example(6, torch.Generator().manual_seed(0))
    batch = GraphBatch.of(x, GRAPHS)
    expected = distance_counts(batch, 3)
    for most in (2**20, 50, 1):  # all; some; none, so that each batch is counted anew
        counts = Counts(GRAPHS, 3, most)
        for rows in ([0, 1], [1, 2, 3, 0], list(range(6))):
            found = counts(x[rows], GraphBatch.of(x[rows], GRAPHS))
            wanted = torch.cat([expected[batch.row == row] for row in rows])
            torch.testing.assert_close(found, wanted)
        assert len(counts.known) == 6


def test_arguments() -> None:
    with pytest.raises(ValueError, match="GNAN reads graphs; got a domain of rows"):
        GNAN(ROWS)
    with pytest.raises(ValueError, match="hidden must be at least 1; got 0"):
        GNAN(GRAPHS, hidden=0)
    with pytest.raises(ValueError, match="task"):
        GNAN(replace(GRAPHS, task="regression"))
    names = [unit.name for unit in GNAN(replace(GRAPHS, features=("degree", "nodes")), hidden=2).units()]
    assert names == ["nodes (of the graph)", "degree", "nodes", "degree (of the graph)"]
    assert [unit.name for unit in GNAN(GRAPHS, hidden=2, degree=False).units()] == ["nodes", "charge", "element = C"]
    assert GNAN(GRAPHS, hidden=2).furthest == 4
