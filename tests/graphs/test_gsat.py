"""GSAT: gates, the information term, its schedule, and areas under the curve of the gates."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.small_models import GRAPHS, build
from zoo.graphs import GSAT
from zoo.graphs.layers.edge_gates import EdgeGates, GraphEdgeAUC, PooledEdgeAUC
from zoo.networks.graph_batch import GraphBatch


def test_gates_are_those_of_a_loop_over_the_edges_of_each_graph() -> None:
    torch.manual_seed(0)
    gates, x = EdgeGates(3, dropout=0.5).eval(), GRAPHS.example(4, torch.Generator().manual_seed(1))
    x[1, GRAPHS.nodes + 1 :] = 0  # a single edge
    batch = GraphBatch.of(x, GRAPHS)
    states = torch.randn(len(batch.row), 3)
    found = batch.per_edge(gates(states, batch))
    for b in range(4):
        of = (batch.row[batch.ends[0]] == b).nonzero()[:, 0]
        first, second = states[batch.ends[0, of]], states[batch.ends[1, of]]
        h = torch.cat([first + second, (first - second).abs()], 1)
        for layer in (gates.first, gates.second):
            h = layer(h)
            h = ((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()).relu()
        expected = gates.last(h)[:, 0]
        torch.testing.assert_close(found[b][found[b] != 0], expected)


def test_the_score_is_that_of_the_gated_graph_and_evaluation_is_not_random() -> None:
    small = build("gsat")
    model, x = small.model, small.inputs
    with torch.no_grad():
        batch = GraphBatch.of(x, GRAPHS)
        a = model.extractor(model.backbone.nodes(batch), batch).sigmoid()
        states = batch.pool(model.backbone.nodes(batch, a))
        torch.testing.assert_close(model(x), states @ model.head.weight.T + model.head.bias)
        assert torch.equal(model(x), model(x))
    support = model.explain(x).support
    torch.testing.assert_close(support[:, :, GRAPHS.nodes :].amax(1), batch.per_edge(a))


def test_the_information_term_by_hand() -> None:
    small = build("gsat")
    model, x = small.model.train(), small.inputs
    scores, evidence = model.step(x)
    target = torch.zeros(5, dtype=torch.long)
    found = model.losses(scores, evidence, {"input": x, "target": target})["information"]
    r, terms = 0.9, []
    for row, there in zip(evidence.state["gates"].tolist(), x[:, GRAPHS.nodes :, 0].tolist(), strict=True):
        for a, present in zip(row, there, strict=True):
            if present:
                terms.append(a * math.log(a / r + 1e-6) + (1 - a) * math.log((1 - a) / (1 - r + 1e-6) + 1e-6))
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert not torch.equal(model.step(x)[1].state["gates"], evidence.state["gates"])  # drawn anew in training


def test_the_prior_falls_and_the_last_stage_has_its_final_value() -> None:
    model = GSAT(GRAPHS, backbone={"width": 2})
    assert [round(model.r(e), 6) for e in (0, 9, 10, 39, 40, 100)] == [0.9, 0.9, 0.8, 0.6, 0.5, 0.5]
    model.check_recipe()
    late = GSAT(GRAPHS, backbone={"width": 2}, prior={"every": 20})
    with pytest.raises(ValueError, match=r"begins after 40 epochs, when r is still 0\.7; its final value is 0\.5"):
        late.check_recipe()
    with pytest.raises(TypeError, match="prior has no option 'finl'; did you mean 'final'"):
        GSAT(GRAPHS, prior={"finl": 0.5})
    with pytest.raises(ValueError, match="final must be in"):
        GSAT(GRAPHS, prior={"final": 0.0})


def test_areas_of_gates_pooled_and_by_graph() -> None:
    torch.manual_seed(0)
    gates, labels = torch.rand(3, 8), (torch.rand(3, 8) < 0.4).float()
    labels[0, 5:] = torch.nan  # absent edges
    labels[2] = 0.0  # a graph without edges that matter is in the pooled area only
    known = labels.isfinite()
    pooled, each = PooledEdgeAUC(), GraphEdgeAUC()
    pooled.update(gates.flatten()[:, None], labels.flatten()[:, None])
    each.update(gates, labels)
    assert pooled.compute().item() == pytest.approx(roc_auc_score(labels[known], gates[known]))
    by_graph = [roc_auc_score(labels[i][known[i]], gates[i][known[i]]) for i in range(2)]
    assert each.compute().item() == pytest.approx(sum(by_graph) / 2)


def test_regions_of_the_data_give_the_areas_of_a_split() -> None:
    small = build("gsat")
    model, x = small.model, small.inputs
    scores, evidence = model.step(x)
    regions = torch.zeros(5, 1, GRAPHS.nodes + GRAPHS.edges)
    regions[:, 0, GRAPHS.nodes] = 1
    batch = {"input": x, "target": torch.zeros(5, dtype=torch.long), "regions": regions}
    found = model.update_metrics("val", scores, evidence, batch)
    gates, there = evidence.state["gates"].detach(), x[:, GRAPHS.nodes :, 0] > 0
    truth = regions[:, 0, GRAPHS.nodes :]
    assert found["edge_auc"].compute().item() == pytest.approx(roc_auc_score(truth[there], gates[there]))
    assert "edge_auc" not in model.update_metrics("train", scores, evidence, batch)
    assert "edge_auc" not in model.update_metrics("val", scores, evidence, {k: batch[k] for k in ("input", "target")})
