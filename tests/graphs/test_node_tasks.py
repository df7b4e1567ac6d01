"""Questions about nodes: the surroundings of a node give the scores that the complete network gives."""

import json
from dataclasses import replace

import pytest
import torch

from tests.small_models import GRAPHS, build
from zoo.domain import GraphDomain
from zoo.graphs import GSAT, ProtGNN
from zoo.metrics.faithfulness.extension import Extension
from zoo.metrics.faithfulness.graph_edges import edge_labels, subgraph
from zoo.metrics.faithfulness.re_explanation import ReExplanation
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch
from zoo.views.graph import LARGEST, NEAREST
from zoo.views.html import page

NETWORK = {
    "nodes": [{"name": f"n{i}", "load": i % 5} for i in range(16)],
    "edges": [[i, i + 1] for i in range(15)] + [[0, 5], [3, 9], [3, 12], [7, 14], [2, 2]],
}
DOMAIN = GraphDomain(classes=GRAPHS.classes, features=("load",), nodes=16, edges=20, radius=3)
COMPLETE = replace(DOMAIN, radius=None)


def asked(node: int, radius: int = 3) -> torch.Tensor:
    domain = replace(DOMAIN, radius=radius)
    return domain.preprocess(json.dumps(NETWORK | {"centre": f"n{node}"}))[None]


def apart() -> torch.Tensor:
    """(16, 16) numbers of edges between nodes, by multiplying matrices."""
    step = torch.zeros(16, 16)
    for a, b in NETWORK["edges"]:
        step[a, b] = step[b, a] = 1
    found, reached = torch.full((16, 16), 99), torch.eye(16)
    for d in range(16):
        found[(reached > 0) & (found == 99)] = d
        reached = reached @ (step + torch.eye(16))
    return found


def complete(network: GIN) -> torch.Tensor:
    """States (16, D) of the nodes of the complete network."""
    x = COMPLETE.preprocess(json.dumps(NETWORK))[None]
    return network.nodes(GraphBatch.of(x, COMPLETE))


@torch.no_grad()
def test_scores_are_those_of_the_complete_network() -> None:
    model = build("sum_gin", domain=DOMAIN, backbone={"width": 8, "layers": 2}, rings=1).model
    states, distance = complete(model.backbone), apart()
    for node in range(16):
        told = model.explain(asked(node), reference="zero").check()
        near = model.head.weight[:, :8] @ states[node]
        ring = [model.head.weight[:, 8:] @ states[j] for j in range(16) if distance[node, j] == 1]
        torch.testing.assert_close(told.scores[0], near + sum(ring) + model.head.bias)
        target = int(told.target)
        torch.testing.assert_close(told.contributions[0, 0], near[target])
        assert int(told.activation.sum()) == 1 + len(ring)
    alone = build("gsat", domain=DOMAIN, backbone={"width": 8, "layers": 3}).model
    assert isinstance(alone, GSAT) and alone.rings == 0
    gates = torch.ones(19)  # no gate: message passing alone
    states = alone.backbone.nodes(GraphBatch.of(COMPLETE.preprocess(json.dumps(NETWORK))[None], COMPLETE), gates)
    batch = GraphBatch.of(asked(4), DOMAIN)
    evidence = alone.node_evidence(alone.backbone.nodes(batch), batch)
    torch.testing.assert_close(alone.readout(evidence)[0], alone.head(states[4]))
    box = GIN(DOMAIN, width=8, layers=3, hidden=[4]).eval()
    torch.testing.assert_close(box(asked(4))[0], box.after(complete(box)[4]))


@torch.no_grad()
def test_gnan_is_the_sum_over_nodes_by_their_distance_from_the_one_asked_about() -> None:
    domain = replace(DOMAIN, radius=4)
    model = build("gnan", domain=domain, furthest=3, hidden=4).model
    distance, load = apart(), torch.tensor([float(i % 5) for i in range(16)])
    degree = (distance == 1).sum(1) / 4
    inputs = torch.stack([torch.ones(16), load, degree], 1)
    values, profile = model.functions.at(inputs.T), model.profile()  # (16, K, C)
    for node in range(16):
        expected = model.bias.clone()
        for j in range(16):
            if (d := int(distance[node, j])) <= 3:
                expected += values[j].sum(0) * profile[d] / int((distance[node] == d).sum())
        told = model.explain(asked(node, 4), reference="zero").check()
        torch.testing.assert_close(told.scores[0], expected, rtol=1e-4, atol=1e-5)


def test_a_program_that_is_traced_counts_the_same_distances() -> None:
    model = build("gnan", domain=replace(DOMAIN, radius=4), furthest=3, hidden=2).model
    x = torch.cat([asked(4, 4), asked(9, 4)])
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=8)}})
    with torch.no_grad():
        torch.testing.assert_close(program.module()(asked(12, 4)), model(asked(12, 4)))


def test_surroundings_have_the_node_first_and_names_of_the_network() -> None:
    text = json.dumps(NETWORK | {"centre": 9})
    x = DOMAIN.preprocess(text)
    graph, distance = DOMAIN.graph(x, text), apart()
    assert graph.names[0] == "n9" and float(graph.features[0]) == 9 % 5
    near = [j for j in range(16) if distance[9, j] <= 3]
    assert sorted(int(name[1:]) for name in graph.names) == near
    ends = {frozenset(int(graph.names[end][1:]) for end in pair) for pair in graph.ends}
    assert ends == {frozenset(e) for e in NETWORK["edges"] if set(e) <= set(near) and e[0] != e[1]}
    assert GraphBatch.of(x[None], DOMAIN).distances(2).tolist() == [
        min(int(distance[9, int(name[1:])]), 3) for name in graph.names
    ]


def test_the_page_marks_the_node_that_is_asked_about() -> None:
    model = build("sum_gin", domain=DOMAIN, backbone={"width": 4}, rings=1).model
    text = json.dumps(NETWORK | {"centre": "n9"})
    one = replace(model.explain(DOMAIN.preprocess(text)[None], reference="zero"), texts=(text,))
    html = page(one, ["a node"])
    assert html.count("class='asked'") == 1 and "n9: " in html and "node n9 (asked about)" in html
    assert "The node in a second circle is asked about" in html
    large = replace(DOMAIN, features=(), mean=(), std=(), nodes=LARGEST + 2, edges=LARGEST + 1, radius=1)
    star = {"nodes": LARGEST + 2, "edges": [[0, i] for i in range(1, LARGEST + 2)], "centre": 0}
    model = build("sum_gin", domain=large, backbone={"width": 2, "layers": 1}, rings=0).model
    html = page(model.explain(large.preprocess(json.dumps(star))[None]), ["a star"])
    assert f"{LARGEST + 2 - NEAREST} more are not" in html and html.count("class='ground'") == NEAREST


def test_tests_of_explanations_keep_the_node_and_skip_unknown_evidence() -> None:
    subject = Subject(build("sum_gin", domain=DOMAIN, backbone={"width": 4}, rings=1).model)
    assert Extension.missing(subject, True, True) == "needs questions about graphs"
    assert ReExplanation.missing(subject, True, True) is None
    x = torch.cat([asked(4), asked(9)])
    kept = subgraph(x, torch.zeros(2, DOMAIN.edges, dtype=torch.bool), DOMAIN)
    assert kept[:, 0, 0].tolist() == [1, 1] and int(kept[..., 0].sum()) == 2
    regions = torch.zeros(2, 1, sum(DOMAIN.shape[:1]))
    regions[0, 0, DOMAIN.nodes] = 1
    labels = edge_labels(Case(subject, x, torch.arange(2), regions=regions))
    assert labels is not None and bool(labels[1].isnan().all())
    assert labels[0, 0] == 1 and labels[0].nansum() == 1 and labels[0].isfinite().sum() == x[0, DOMAIN.nodes :, 0].sum()
    found = ReExplanation().per_sample(Case(subject, x, torch.arange(2)))
    assert found[:, 1:].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, 'does not say which: add "centre"'),
        ({"centre": "n99"}, "'centre' names 'n99', which no node is called"),
        ({"centre": 16}, "'centre' is 16; the graph has nodes 0 to 15"),
        ({"centre": True}, "'centre' is True"),
        ({"centre": ["n1", "n2"]}, "'centre' names 2 nodes; expected one"),
    ],
)
def test_what_the_domain_refuses(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DOMAIN.preprocess(json.dumps(NETWORK | change))


def test_what_models_refuse() -> None:
    with pytest.raises(ValueError, match="ProtGNN answers for graphs, and this data asks about nodes"):
        ProtGNN(DOMAIN)
    with pytest.raises(ValueError, match="rings must be at least 0"):
        build("sum_gin", domain=DOMAIN, rings=-1)
    with pytest.raises(ValueError, match="radius must be at least 1; got 0"):
        replace(DOMAIN, radius=0)
    with pytest.raises(ValueError, match=r"whose option `nodes` is larger, or whose `radius` is smaller"):
        replace(DOMAIN, nodes=2).preprocess(json.dumps(NETWORK | {"centre": 3}))
