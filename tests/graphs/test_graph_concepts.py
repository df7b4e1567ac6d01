"""GraphConcepts: every node has one concept, and the score is linear in how many nodes have each."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import GRAPHS, ROWS, build
from zoo.graphs import GraphConcepts
from zoo.graphs.layers.presence_logic import soft_presence
from zoo.metrics.faithfulness.graph_edges import edge_scores
from zoo.metrics.faithfulness.subject import Case, Subject
from zoo.networks.graph_batch import GraphBatch
from zoo.training.stages import Stage


@torch.no_grad()
def test_scores_are_weights_of_counts() -> None:
    small = build("graph_concepts")
    model, x = small.model, small.inputs
    explanation = model.explain(x, 1, reference="zero").check()
    for b, one in enumerate(x):
        states = model.backbone.nodes(GraphBatch.of(one[None], GRAPHS))  # tested against a loop in test_gin
        logits = states @ model.concepts.weight.T + model.concepts.bias
        chosen = logits.argmax(1).tolist()
        counts = torch.tensor([float(chosen.count(d)) for d in range(4)])
        assert torch.equal(explanation.activation[b], counts)
        torch.testing.assert_close(explanation.scores[b], model.head.weight @ counts + model.head.bias)
        torch.testing.assert_close(explanation.contributions[b], model.head.weight[1] * counts)
        support = explanation.support[b]
        for node, d in enumerate(chosen):  # nodes are first in examples
            assert torch.equal(support[:, node], F.one_hot(torch.tensor(d), 4).float())
        for e in range(GRAPHS.edges):
            present, first, second = one[GRAPHS.nodes + e, :3].tolist()
            same = bool(present) and chosen[int(first)] == chosen[int(second)]
            assert float(support[:, GRAPHS.nodes + e].sum()) == float(same)


def test_training_sees_the_same_concepts_and_has_the_gradient_of_the_softmax() -> None:
    small = build("graph_concepts", temperature=2.0)
    model, x = small.model, small.inputs
    model.train()
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    scores, evidence = model.step(x)
    torch.testing.assert_close(evidence.activation, model.eval().step(x)[1].activation)
    slope = torch.randn(4)
    (evidence.activation @ slope).sum().backward()
    with torch.no_grad():
        states = model.backbone.nodes(GraphBatch.of(x, GRAPHS))
        soft = ((states @ model.concepts.weight.T + model.concepts.bias) / 2.0).softmax(1)
        by_logit = soft * (slope - soft @ slope[:, None]) / 2.0  # of the Jacobian of a softmax
    torch.testing.assert_close(model.concepts.bias.grad, by_logit.sum(0))
    share = soft.mean(0)
    balance = model.losses(scores, evidence, {"target": torch.zeros(5, dtype=torch.int64)})["balance"]
    torch.testing.assert_close(balance.detach(), (share * (4 * share).log()).sum())


@torch.no_grad()
def test_an_intervention_sets_a_count() -> None:
    small = build("graph_concepts")
    model, x = small.model, small.inputs
    evidence = model.step(x)[1]
    changed = model.readout(model.edit(evidence, {"concept 2": 3.0})) - model.readout(evidence)
    expected = (3.0 - evidence.activation[:, 1:2]) * model.head.weight[:, 1]
    torch.testing.assert_close(changed, expected)


@torch.no_grad()
def test_pictures_are_the_surroundings_of_the_most_typical_nodes() -> None:
    model = build("graph_concepts", examples=2).model
    x = GRAPHS.example(5, torch.Generator().manual_seed(1))
    for d, unit in enumerate(model.units()):
        best = []
        for i, one in enumerate(x):
            states = model.backbone.nodes(GraphBatch.of(one[None], GRAPHS))
            soft = (states @ model.concepts.weight.T + model.concepts.bias).softmax(1)
            own = [(-float(row[d]), i, node) for node, row in enumerate(soft) if int(row.argmax()) == d]
            best += [min(own)] if own else []
        found = [(part["index"], part["nodes"][part["centre"]]) for part in unit.source.get("subgraphs", ())]
        expected = [(i, GRAPHS.graph(x[i]).names[node]) for _, i, node in sorted(best)[:2]]
        assert found == expected
    stored = model.stored
    for rows, index, centre in zip(
        stored.rows.flatten(0, 1), stored.index.flatten(), stored.centre.flatten(), strict=True
    ):
        if index >= 0:  # all that the state of the node depends on is in the picture
            states = [GraphBatch.of(one[None], GRAPHS) for one in (rows, x[index])]
            alone, within = (batch.per_node(model.backbone.nodes(batch))[0, centre] for batch in states)
            torch.testing.assert_close(alone, within)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="GraphConcepts reads graphs; got a domain of rows"):
        GraphConcepts(ROWS)
    with pytest.raises(ValueError, match="concepts must be at least 2; got 1"):
        GraphConcepts(GRAPHS, concepts=1)
    with pytest.raises(ValueError, match="GraphConcepts reads the states of nodes; leave out `hidden`"):
        GraphConcepts(GRAPHS, backbone={"hidden": [4]})


@torch.no_grad()
def test_the_logic_head_reads_which_concepts_are_there() -> None:
    small = build("graph_concepts", "logic")
    model, x = small.model, small.inputs
    told = model.explain(x, 1)
    assert told.contributions is None and not model.additive
    network = model.head.network
    for b, counts in enumerate(told.activation):
        here = (counts > 0).float()
        for c in range(len(GRAPHS.classes)):
            alpha = (network.weight[c].abs().sum(0) / 0.6).softmax(0)
            hidden = F.leaky_relu((here * alpha / alpha.max()) @ network.weight[c].T + network.bias[c])
            torch.testing.assert_close(told.scores[b, c], hidden @ network.out[c] + network.offset[c])
    evidence = model.step(x)[1]
    for d in range(4):
        for name, value in (("absent", 0.0), ("present", 1.0)):
            changed = model.readout(model.edit(evidence, {f"concept {d + 1}": value}))[:, 1]
            torch.testing.assert_close(told.details[name][:, d], changed)
    more = model.edit(evidence, {"concept 1": evidence.activation[:, 0] * 3})
    assert torch.equal(model.readout(more), model.readout(evidence))  # another count, but the same concepts


def test_presence_has_the_gradient_of_any_node_having_the_concept() -> None:
    batch = GraphBatch.of(build("graph_concepts").inputs, GRAPHS)
    soft = torch.rand(len(batch.row), 3).softmax(1).requires_grad_()
    hard = F.one_hot(soft.argmax(1), 3).float()
    found, slope = soft_presence(hard, soft, batch), torch.randn(batch.size[0], 3)
    likely = torch.stack([1 - (1 - soft[batch.row == b]).prod(0) for b in range(batch.size[0])])
    assert torch.equal(found.detach().round(), (batch.pool(hard) > 0).float())
    (expected,) = torch.autograd.grad((likely * slope).sum(), soft)
    (gradient,) = torch.autograd.grad((found * slope).sum(), soft)
    torch.testing.assert_close(gradient, expected)


def test_formulas_of_concepts_are_found_shown_and_forgotten() -> None:
    small = build("graph_concepts", "logic")
    model = small.model
    counts = torch.tensor([[2.0, 0, 1, 0], [1, 3, 0, 0], [0, 1, 1, 0], [0, 2, 0, 1]]).repeat(5, 1)
    target = (counts[:, 0] == 0).long()  # class 1 if concept 1 is not there
    scores = F.one_hot(target, len(GRAPHS.classes)).float()
    with torch.no_grad():
        model.head.network.weight.zero_()
        model.head.network.weight[:, :, 0] = 5.0  # attention to the first concept
    model.head.extract(counts, scores, target)
    first, second = GRAPHS.classes[:2]
    assert {rule.conclusion: rule.text for rule in model.rule_table()} == {first: "concept 1", second: "not concept 1"}
    assert all(rule.support == 0.5 and rule.outcome == 1 for rule in model.rule_table())
    said = model.statements({"activation": counts[[0, 0]], "target": torch.tensor([0, 1])})
    assert said[0].startswith(f"{first} if concept 1: true here. The concept of a node")
    assert said[1].startswith(f"{second} if not concept 1: not true here. ")
    found = model.head.update_metrics("val", counts, target)
    assert float(found["formula_f1"].compute()) == pytest.approx(2 / 3)  # 1, 1, and 0 of a class without graphs
    model.on_stage_start(Stage("last", epochs=1, train=("head",)))
    assert model.rule_table() == [] and model.head.update_metrics("val", counts, target) == {}


def test_what_logic_refuses() -> None:
    with pytest.raises(TypeError, match="logic has no option 'hiden'; did you mean 'hidden'"):
        GraphConcepts(GRAPHS, logic={"hiden": 3})
    with pytest.raises(ValueError, match="terms must be at least 1; got 0"):
        GraphConcepts(GRAPHS, logic={"terms": 0})
    with pytest.raises(ValueError, match="with logic is a classifier; the task of these data is 'regression'"):
        GraphConcepts(replace(GRAPHS, task="regression"), logic={})
    stages = [
        {"name": "train", "epochs": 1, "train": ["head"]},
        {"name": "extract"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    with pytest.raises(ValueError, match="the linear head has no formulas to extract"):
        GraphConcepts(GRAPHS, recipe={"stages": stages}).check_recipe()


def test_importance_of_absent_concepts_is_spread_nowhere() -> None:
    """A concept that would matter but has no node made all scores of edges NaN, and areas above 1."""
    small = build("graph_concepts", "logic")
    x = small.inputs
    with torch.no_grad():
        small.model.head.network.out *= 1000  # effects above 4, which divided by the smallest number are infinite
    case = Case(Subject(small.model), x, torch.arange(len(x)))
    empty = case.mass == 0
    assert (case.weight[empty] > 4).any()
    share = case.weight.masked_fill(empty, 0) / case.mass.clamp_min(1e-9)
    torch.testing.assert_close(case.attribution.sum(1), (share * case.mass).sum(1), rtol=1e-4, atol=1e-5)
    assert edge_scores(case).isfinite().all()
