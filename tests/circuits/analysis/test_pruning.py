"""Circuits: found, measured, kept in files; against a network drawn by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.circuits.tokens import pairs, prompts, taught, transformer, windows
from zoo.circuits import Choice, Circuit, Pruning, SparseTransformer, prune
from zoo.circuits.analysis.circuit import Edges, edges_of, hold
from zoo.circuits.analysis.controls import controls
from zoo.circuits.analysis.pruning import Step, edge_importance
from zoo.circuits.analysis.token_pair_task import calibrated, margins, score, task_loss
from zoo.circuits.network.transformer import Ablation

HOW = Pruning(steps=60, penalties=(1e-3,))


@pytest.fixture(scope="module")
def model() -> SparseTransformer:
    return taught()


@pytest.fixture(scope="module")
def circuit(model: SparseTransformer) -> Circuit:
    return prune(model, "first token", pairs(32), pairs(32, seed=5), HOW)


def test_the_circuit_reaches_the_target_and_is_needed(circuit: Circuit) -> None:
    report = circuit.report
    assert report["train"]["loss"] <= HOW.target
    assert report["circuit"]["accuracy"] > 0.9
    assert report["without"]["accuracy"] < 0.6
    assert 0 < report["nodes"] < report["all_nodes"] / 4
    assert report["edges"] == len(circuit.edges.source) <= report["possible_edges"]


def test_explaining_with_a_circuit_explains_the_circuits_scores(model: SparseTransformer, circuit: Circuit) -> None:
    choice = pairs(8, seed=7)
    explanation = model.explain(choice.tokens, circuit=circuit)
    explanation.check()
    found = model.network.last_logits(choice.tokens, model.network.visit(circuit.ablation(model.network)))
    torch.testing.assert_close(explanation.scores, found.detach(), rtol=1e-4, atol=1e-4)
    assert not torch.equal(explanation.scores, model.explain(choice.tokens).scores)


def test_edges_of_an_explanation_are_the_circuits(model: SparseTransformer, circuit: Circuit) -> None:
    choice = pairs(2, seed=7)
    explanation = model.explain(choice.tokens, circuit=circuit)
    source, destination, weight = explanation.edges
    names = [unit.name.replace("neuron", "mlp_neuron") for unit in explanation.units]
    told = circuit.to_dict()
    for k, edge in enumerate(told["edges"]):
        assert names[source[k]].replace("mlp_mlp", "mlp") == told["nodes"][edge["from"]]["node"]
        assert names[destination[k]].replace("mlp_mlp", "mlp") == told["nodes"][edge["to"]]["node"]
        assert weight[:, k].tolist() == [edge["weight"]] * len(choice)
    inner = [k for k, unit in enumerate(explanation.units) if unit.kind == "node"]
    assert inner and bool((explanation.contributions[:, inner] == 0).all())
    visit = model.network.visit(circuit.ablation(model.network), record=True)
    model.network.last_logits(choice.tokens, visit)
    for k in inner:
        _, layer, site, index = explanation.units[k].name.split()
        last = visit.values[int(layer), site][:, -1, int(index)]
        torch.testing.assert_close(explanation.activation[:, k], last.detach())
    assert model.explain(choice.tokens).edges is None


def test_a_circuit_survives_its_file(model: SparseTransformer, circuit: Circuit, tmp_path: Path) -> None:
    circuit.save(tmp_path / "one")
    back = Circuit.load(tmp_path / "one.json")
    assert back.report == circuit.report and back.task == circuit.task
    choice = pairs(8, seed=7)
    for net in (model.network,):
        ours, theirs = (margins(net, choice, c.ablation(net)) for c in (circuit, back))
        assert torch.equal(ours, theirs)
    assert len(back.to_dict()["edges"]) == circuit.report["edges"]


def test_effects_are_rises_of_the_loss(model: SparseTransformer, circuit: Circuit) -> None:
    choice, net = pairs(32, seed=5), model.network
    with torch.no_grad():
        base = task_loss(margins(net, choice, circuit.ablation(net)))
        k = int(circuit.node_effect.argmax())
        mask = circuit.mask.clone()
        mask.view(-1)[circuit.nodes[k]] = False
        less = task_loss(margins(net, choice, replace(circuit, mask=mask).ablation(net)))
        torch.testing.assert_close(circuit.node_effect[k], less - base, rtol=1e-3, atol=1e-4)
        e = int(circuit.edge_effect.argmax())
        removed = circuit.removed.and_(circuit.edges.chosen(slice(e, e + 1)))
        less = task_loss(margins(net, choice, replace(circuit, removed=removed).ablation(net)))
        torch.testing.assert_close(circuit.edge_effect[e], less - base, rtol=1e-3, atol=1e-4)


def test_activations_of_the_nodes_are_kept(model: SparseTransformer, circuit: Circuit) -> None:
    assert circuit.activations.shape == (*circuit.samples.shape, len(circuit.nodes))
    visit = model.network.visit(circuit.ablation(model.network), record=True)
    model.network.last_logits(circuit.samples, visit)
    row = circuit.to_dict()["nodes"][0]
    torch.testing.assert_close(circuit.activations[..., 0], visit.values[row["layer"], row["site"]][..., row["index"]])


def test_edges_of_a_network_by_hand() -> None:
    """One neuron that reads one channel and writes one: 3 nodes, 2 edges."""
    net = transformer().network
    with torch.no_grad():
        for block in net.blocks:
            for linear in (block.qkv, block.out, block.up, block.down):
                linear.weight.zero_()
        net.blocks[1].up.weight[9, 4] = 2.0
        net.blocks[1].down.weight[7, 9] = -3.0
    edges = edges_of(net, torch.ones(2, net.layout.nodes))
    start = net.layout.nodes
    nodes = [start + net.layout.part(site).start + i for site, i in (("mlp_in", 4), ("mlp_neuron", 9), ("mlp_out", 7))]
    assert edges.source.tolist() == nodes[:2] and edges.destination.tolist() == nodes[1:]
    assert edges.weight.tolist() == [2.0, -3.0]
    mask = torch.ones(2, net.layout.nodes)
    mask[1, net.layout.part("mlp_neuron").start + 9] = 0
    assert len(edges_of(net, mask).source) == 0


def test_a_removed_edge_carries_its_mean() -> None:
    model = transformer()
    model.average(windows())
    net = model.network
    part = net.layout.part("mlp_neuron")
    edge = Edges(torch.tensor([net.layout.part("mlp_in").start + 3]), torch.tensor([part.start + 5]), None)
    edge = edge._replace(weight=net.blocks[0].up.weight[5, 3].detach()[None])
    ablation = hold(net, model.means, model.gathered, torch.ones_like(model.means), edge)
    weight, bias = ablation.rewired[0, "up"]
    expected = net.blocks[0].up.bias[5] + edge.weight[0] * model.means[0, net.layout.part("mlp_in")][3]
    assert weight[5, 3] == 0 and torch.isclose(bias[5], expected)
    same = weight.clone()
    same[5, 3] = net.blocks[0].up.weight[5, 3]
    assert torch.equal(same, net.blocks[0].up.weight.detach())


def test_importance_of_an_edge_is_the_derivative_by_its_gate(model: SparseTransformer) -> None:
    choice, mask = pairs(4), torch.ones_like(model.means)
    edges = edges_of(model.network, mask)
    found = edge_importance(model, choice, mask, edges)
    k, step = int(found.argmax()), 1e-2
    only = edges.chosen(slice(k, k + 1))

    def loss(share: float) -> torch.Tensor:
        part = only._replace(weight=only.weight * share)  # an edge of which a share is replaced by its mean
        ablation = hold(model.network, model.means, model.gathered, mask, part)
        (key, (weight, bias)) = next(iter(ablation.rewired.items()))
        whole = getattr(model.network.blocks[key[0]], key[1]).weight.detach()
        rewired = {key: (whole + share * (weight - whole), bias)}
        with torch.no_grad():
            return task_loss(margins(model.network, choice, replace(ablation, rewired=rewired)))

    slope = (loss(step) - loss(0.0)) / step
    torch.testing.assert_close(found[k], slope.abs(), rtol=0.15, atol=1e-4)


def test_step_is_hard_forward_and_soft_backward() -> None:
    logit = torch.tensor([-0.5, 0.0, 2.0], requires_grad=True)
    mask = Step.apply(logit, 2.0)
    assert mask.tolist() == [0.0, 1.0, 1.0]
    mask.sum().backward()
    soft = torch.sigmoid(logit.detach() / 2)
    torch.testing.assert_close(logit.grad, soft * (1 - soft) / 2)


def test_mask_and_inverse_mask_partition_the_nodes(circuit: Circuit) -> None:
    inverse = ~circuit.mask
    assert not bool((inverse & circuit.mask).any()) and bool((inverse | circuit.mask).all())


def test_calibration_finds_scale_and_shift() -> None:
    margin = torch.tensor([0.1, -0.05, 0.12, -0.06])  # right by a shift towards the second answers alone
    first = torch.tensor([True, False, True, False])
    assert calibrated(margin, first) < 0.1 < task_loss(margin)


def test_frozen_norms_are_those_of_the_whole_network(model: SparseTransformer) -> None:
    choice, net = pairs(4), model.network
    visit = net.visit(record=True)
    expected = net.last_logits(choice.tokens, visit)
    torch.testing.assert_close(net.last_logits(choice.tokens, net.visit(scales=visit.scales)), expected)
    half = Ablation(torch.ones_like(model.means), model.means, net.layout)
    half.mask[0, ::2] = 0
    free = net.last_logits(choice.tokens, net.visit(half))
    assert not torch.allclose(net.last_logits(choice.tokens, net.visit(half, scales=visit.scales)), free)


def test_controls(model: SparseTransformer, circuit: Circuit) -> None:
    train, held_out = pairs(16), pairs(16, seed=5)
    coins = torch.rand(16, generator=torch.Generator().manual_seed(0)).lt(0.5).repeat_interleave(2)
    nonsense = [
        Choice(c.tokens, c.right.where(coins, c.wrong), c.wrong.where(coins, c.right)) for c in (train, held_out)
    ]
    found = controls(model, circuit, train, held_out, tuple(nonsense), windows(), replace(HOW, steps=20), draws=4)
    assert set(found) == {"random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights"}
    assert found["random_nodes"]["loss"] > circuit.report["circuit"]["loss"]
    assert not found["nonsense_task"]["reached"] and found["nonsense_task"]["held_out_loss"] > 0.5
    assert not found["shuffled_weights"]["reached"]


def test_pruning_leaves_the_model_as_it_was(model: SparseTransformer) -> None:
    before = {name: t.clone() for name, t in model.state_dict().items()}
    prune(model, "again", pairs(8), pairs(8), replace(HOW, steps=5))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.network.parameters())


def test_score_of_a_network_that_knows_nothing_is_chance() -> None:
    model = transformer()
    with torch.no_grad():
        for p in model.network.parameters():
            p.zero_()
    assert score(model.network, pairs(4))["loss"] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prune(transformer(), "task", pairs(4), pairs(4)), "no measured means"),
        (lambda: Pruning(target=0.8), "between 0 and chance, ln 2"),
        (lambda: Pruning(penalties=()), "expected penalties above 0"),
        (lambda: Choice.of_pairs(torch.zeros(3, 4), torch.zeros(3, 2)), r"expected prompts \(N, 2, T\)"),
        (lambda: Choice.of_pairs(torch.ones(1, 2, 3).long(), torch.ones(1, 2).long()), "the same token"),
        (lambda: Circuit.load("nowhere"), r"no circuit at nowhere\.safetensors"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises((ValueError, RuntimeError, FileNotFoundError), match=message):
        call()


def test_a_task_that_the_model_does_not_solve(model: SparseTransformer) -> None:
    wrong = pairs(8)
    with pytest.raises(RuntimeError, match=r"the whole model's loss on 'wrong' is .* above the target of 0\.15"):
        prune(model, "wrong", Choice(wrong.tokens, wrong.wrong, wrong.right), wrong, HOW)


def test_a_circuit_of_another_network(circuit: Circuit) -> None:
    with pytest.raises(ValueError, match="belongs to a network of Layout"):
        transformer(width=16).explain(prompts(1)[0], circuit=circuit)
