"""Controls of a circuit."""

from dataclasses import replace

import pytest
import torch

from tests.circuits.conftest import OPTIONS
from tests.circuits.tokens import disturbed, pairs, windows
from zoo.circuits import Circuit, SparseTransformer, TokenPairTask
from zoo.circuits.analysis import pruning
from zoo.circuits.analysis.controls import controls, frozen_norms, partial_ablation, random_nodes, search_control
from zoo.circuits.analysis.token_pair_task import evaluate_task, logit_differences
from zoo.circuits.network.edges import mean_ablation

ALL = {"random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights"}
FIELDS = {"loss", "accuracy", "worst_loss", "worst_accuracy", "nodes", "edges", "verdict", "reason"}


def test_controls(model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask) -> None:
    train = pairs(16)
    coins = torch.rand(16, generator=torch.Generator().manual_seed(0)).lt(0.5).repeat_interleave(2)
    nonsense = [
        TokenPairTask(t.tokens, t.right.where(coins, t.wrong), t.wrong.where(coins, t.right)) for t in (train, held_out)
    ]
    options = replace(OPTIONS, steps=20)
    found = controls(model, circuit, train, held_out, tuple(nonsense), windows(), options, draws=4)
    assert set(found) == ALL and all(set(control) >= FIELDS for control in found.values())
    assert found["random_nodes"]["loss"] > circuit.report["circuit"]["loss"]
    assert found["random_nodes"]["worst_loss"] <= found["random_nodes"]["loss"]  # the best draw is the worst case
    assert found["partial_ablation"]["worst_loss"] >= found["partial_ablation"]["loss"]
    assert found["partial_ablation"]["nodes"] > found["frozen_norms"]["nodes"] == circuit.report["nodes"]
    assert not found["nonsense_task"]["reached"] and found["nonsense_task"]["loss"] > 0.5
    assert not found["shuffled_weights"]["reached"] and found["nonsense_task"]["verdict"] == "pass"
    assert "miss the target of 0.15 on the prompts of the search" in found["nonsense_task"]["reason"]


def test_verdicts_follow_the_worst_case(model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask) -> None:
    """A control that fails passes below the bound, one that keeps the circuit above it."""
    for control, low, high in (
        (random_nodes, "warn", "pass"),
        (partial_ablation, "pass", "warn"),
        (frozen_norms, "pass", "warn"),
    ):
        assert control(model, circuit, held_out, -0.1)["verdict"] == low, control.__name__
        assert control(model, circuit, held_out, 1.1)["verdict"] == high, control.__name__


def test_a_mask_that_reaches_the_target_is_told_although_the_network_misses_it(
    model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control reported `reached: False` as soon as the complete network missed the target."""
    other, logits = disturbed(model, circuit.mask)
    monkeypatch.setattr(pruning, "rank", lambda *_: [logits])
    train, options = pairs(16), replace(OPTIONS, target=0.4)
    found = search_control(other, train, held_out, 0.75, options)
    assert found["whole"]["loss"] > 0.4 >= found["train"]["loss"]
    assert found["reached"] and found["verdict"] == "warn" and "reach the target of 0.4" in found["reason"]
    assert 0 < found["nodes"] < int((logits >= 0).sum())
    mask = pruning.search(other, train, options, (0.0,))
    assert found["nodes"] == int(mask.mask.sum()) and found["edges"] == len(mask.edges.source)
    assert found["edges"] < mask.before["edges"]
    trace = other.network.trace(mean_ablation(other.network, other.means, other.gathered, mask.mask, mask.removed))
    difference = logit_differences(other.network, held_out, trace)
    assert found["accuracy"] == pytest.approx(float((difference > 0).float().mean()))
    assert evaluate_task(other.network, train)["loss"] == pytest.approx(found["whole"]["loss"])
