"""Interventions against passes that are put together by hand."""

import pytest
import torch
from torch import Tensor

from tests.circuits.tokens import pairs
from zoo.circuits import (
    Circuit,
    Intervention,
    SparseTransformer,
    TokenPairTask,
    intervene,
    parse_interventions,
    rank_nodes,
)
from zoo.circuits.analysis.intervene import make_changes, pairs_of_equal_length, swapped_pairs
from zoo.circuits.analysis.token_pair_task import evaluate_task, logit_differences
from zoo.circuits.network.edges import edges_between, mean_ablation
from zoo.circuits.network.trace import Ablation, Trace

WRITE = "layer 0 attn_out"


def swap(*names: str) -> list[Intervention]:
    return [Intervention("swap", dict.fromkeys(names, 1.0))]


def one_node(model: SparseTransformer, number: int) -> Tensor:
    mask = torch.zeros(model.means.numel(), dtype=torch.bool)
    mask[number] = True
    return mask.view(model.means.shape)


def recorded(model: SparseTransformer, task: TokenPairTask, interventions: list[Intervention]) -> tuple[Trace, Trace]:
    """Passes without and with interventions, recorded."""
    network, passes = model.network, []
    with torch.no_grad():
        clean = network.trace(record=True)
        network.last_logits(task.tokens, clean)
        changes = make_changes(model, task, interventions, clean.values)
        passes = [clean, network.trace(record=True, changes=changes)]
        network.last_logits(task.tokens, passes[1])
    return passes[0], passes[1]


def test_a_write_is_swapped_as_by_hand(model: SparseTransformer) -> None:
    """The attention of layer 0 writes to each prompt what it writes to the other one."""
    task, network = pairs(4, seed=3), model.network
    found = intervene(model, task, swap(WRITE))
    with torch.no_grad():
        clean = network.trace(record=True)
        before = logit_differences(network, task, clean)
        block, x = network.blocks[0], network.embed(task.tokens)
        x = x + clean.values[0, "attn_out"].view(4, 2, *x.shape[1:]).flip(1).flatten(0, 1)
        trace, last = Trace(network.kept), torch.full((8,), 11)
        x = block.transform(x, None, trace, last)[0]
        x = network.blocks[1](x, None, trace, last)[0]
        after = task.logit_difference(network.logits(x[:, -1], task.tokens[:, -1]))
    other = before.view(4, 2).flip(1).flatten()
    assert found.moved == pytest.approx(float((before - after).mean() / (before + other).mean()), abs=1e-5)
    assert found.flipped == pytest.approx(float(((after < 0) & (before > 0)).sum() / (before > 0).sum()))
    assert found.loss == pytest.approx(float(torch.nn.functional.softplus(-after).mean()), abs=1e-5)
    assert found.added_loss == pytest.approx(found.loss - evaluate_task(network, task)["loss"], abs=1e-6)


def test_all_attention_moves_the_answer_and_nothing_moves_nothing(model: SparseTransformer) -> None:
    """The prompts differ in the first token alone, which only attention can carry to the last one."""
    task = pairs(8)
    assert intervene(model, task, [])[:2] == (0, 0)
    heads = [f"layer {layer} head {head}" for layer in range(2) for head in range(4)]
    for names in (heads, ["layer 0 attn_v", "layer 1 attn_v"]):
        moved = intervene(model, task, swap(*names))
        assert moved.moved > 0.5 and moved.flipped > 0.5


def test_the_mean_of_a_node_is_that_of_an_ablation(model: SparseTransformer) -> None:
    task, number = pairs(4), model.network.layout.number("layer 1 mlp_neuron 5")
    found = intervene(model, task, [Intervention("mean", {"layer 1 neuron 5": 1.0})])
    ablation = Ablation(1 - one_node(model, number).float(), model.means, model.network.layout)
    assert found.loss == pytest.approx(evaluate_task(model.network, task, ablation)["loss"], abs=1e-6)


@pytest.mark.parametrize("matrix", ["qkv", "out", "up", "down"])
def test_the_mean_of_an_edge_is_that_of_an_ablation(model: SparseTransformer, matrix: str) -> None:
    task, network = pairs(4), model.network
    edges = edges_between(network, torch.ones_like(model.means))
    ends = {"qkv": "attn_k", "out": "attn_out", "up": "mlp_neuron", "down": "mlp_out"}[matrix]
    names = [[network.layout.name(n) for n in end.tolist()] for end in (edges.source, edges.destination)]
    chosen = [i for i, name in enumerate(names[1]) if name.startswith(f"layer 0 {ends}")][:3]
    arrows = {f"{names[0][i]} -> {names[1][i]}": 1.0 for i in chosen}
    found = intervene(model, task, [Intervention("mean", arrows)])
    removed = edges.select(torch.tensor(chosen))
    ablation = mean_ablation(network, model.means, model.gathered, torch.ones_like(model.means), removed)
    assert found.loss == pytest.approx(evaluate_task(network, task, ablation)["loss"], abs=1e-5)


def test_kinds_give_the_values_that_they_name(model: SparseTransformer) -> None:
    task, node = pairs(3), "layer 0 mlp_neuron 7"
    given = [
        Intervention("scale", {"layer 0 attn_out 3": -2.0}),
        Intervention("add", {node: 0.5, "layer 1 attn_v 2": 1}),
    ]
    clean, changed = recorded(model, task, given)
    torch.testing.assert_close(changed.values[0, "attn_out"][..., 3], -2 * clean.values[0, "attn_out"][..., 3])
    assert torch.equal(changed.values[0, "attn_out"][..., :3], clean.values[0, "attn_out"][..., :3])
    clean, changed = recorded(model, task, [Intervention("zero", {"layer 0 channel 4": 1.0})])
    for site in ("attn_in", "attn_out", "mlp_in", "mlp_out"):
        assert not changed.values[0, site][..., 4].any() and changed.values[0, site].any()
        assert clean.values[1, site].shape == changed.values[1, site].shape
    clean, changed = recorded(model, task, [Intervention("resample", {"layer 0 attn_in": 1.0})])
    rows = {tuple(row) for row in clean.values[0, "attn_in"].flatten(0, 1).tolist()}
    drawn = [tuple(row) for row in changed.values[0, "attn_in"].flatten(0, 1).tolist()]
    assert set(drawn) <= rows and len(set(drawn)) > 1  # rows of the same pass, all nodes of a token together
    clean, changed = recorded(model, task, [Intervention("zero", {"layer 1 head 2 channel 1": 1.0})])
    assert not changed.values[1, "gathered"][..., 17].any()
    twice = [Intervention("add", {node: 1.0}), Intervention("scale", {node: 3.0})]
    clean, changed = recorded(model, task, twice)
    torch.testing.assert_close(changed.values[0, "mlp_neuron"][..., 7], 3 * (clean.values[0, "mlp_neuron"][..., 7] + 1))


def test_a_circuit_is_what_differs_between_prompts(model: SparseTransformer, circuit: Circuit) -> None:
    task = pairs(4)
    ranks = rank_nodes(model, task)
    assert intervene(model, task, swap(model.network.layout.name(int(ranks.argmax())))).moved > 0.02
    inside = rank_nodes(model, task, circuit)
    assert bool((inside[~circuit.mask] == 0).all()) and bool(inside.any())
    names = [circuit.layout.name(n) for n in circuit.nodes.tolist()]
    whole = intervene(model, task, swap(*names), circuit)  # all that differs between the prompts is exchanged
    assert whole.moved == pytest.approx(1, abs=1e-4) and whole.flipped == 1
    layout = circuit.layout
    edge = f"{layout.name(int(circuit.edges.source[0]))} -> {layout.name(int(circuit.edges.destination[0]))}"
    found = intervene(model, task, [Intervention("mean", {edge: 1.0})], circuit)
    assert found.added_loss == pytest.approx(float(circuit.edge_effect[0]), abs=0.2)
    others = edges_between(model.network, ~circuit.mask)
    outside = f"{layout.name(int(others.source[0]))} -> {layout.name(int(others.destination[0]))}"
    with pytest.raises(ValueError, match="the circuit of 'first token' has no edge"):
        intervene(model, task, swap(outside), circuit)


def test_pairs_of_unequal_lengths(model: SparseTransformer) -> None:
    task = pairs(3)
    tokens = task.tokens.clone()
    tokens[3, -1] = 0
    unequal = TokenPairTask(tokens, task.right, task.wrong)
    assert len(pairs_of_equal_length(unequal)) == 4
    assert swapped_pairs(torch.arange(4)).tolist() == [1, 0, 3, 2]
    with pytest.raises(ValueError, match=r"different numbers of tokens.*pairs_of_equal_length"):
        intervene(model, unequal, swap(WRITE))
    assert intervene(model, unequal, [Intervention("zero", {WRITE: 1.0})]).loss > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer 7 attn_q 0", r"there is no 'layer 7 attn_q 0'; layers are 0 to 1"),
        ("layer 0 attn_q 99", "may be 0 to 31"),
        ("layer 0 head 4", "heads are 0 to 3, each with channels 0 to 7"),
        ("channel 32", "may be 0 to 31"),
        ("quotes", "no place is named 'quotes'; names are like 'layer 0 attn_out 17'"),
        ("head 3", "no place is named"),
        ("", "no place is named"),
        ("layer 0 attn_in -> layer 0 attn_q 1", "an edge leads from one node to another"),
        ("layer 0 attn_in 1 -> layer 1 attn_q 1", "no matrix connects the nodes"),
    ],
)
def test_unknown_places(model: SparseTransformer, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        intervene(model, pairs(1), swap(name))


def test_an_edge_has_a_weight(model: SparseTransformer) -> None:
    row, column = (model.network.blocks[0].up.weight == 0).nonzero()[0].tolist()
    with pytest.raises(ValueError, match="the weight between these nodes is 0"):
        intervene(model, pairs(1), swap(f"layer 0 mlp_in {column} -> layer 0 mlp_neuron {row}"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"remove": ["channel 1"]}, "kind must be one of swap, mean"),
        ({"swap": "channel 1"}, "'swap' expects a list of names"),
        ({"add": ["channel 1"]}, "'add' expects numbers by names"),
        ({"add": {"channel 1": True}}, "'add' expects numbers by names"),
        ({"scale": {"channel 1": float("nan")}}, "must be a finite number"),
        ({"swap": []}, "needs at least one place"),
    ],
)
def test_interventions_from_plain_data(given: dict, message: str) -> None:
    assert parse_interventions({"add": {"channel 1": 2}}) == (Intervention("add", {"channel 1": 2.0}),)
    with pytest.raises(ValueError, match=message):
        parse_interventions(given)
