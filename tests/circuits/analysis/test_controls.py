"""Controls of a circuit."""

from dataclasses import replace

import torch

from tests.circuits.conftest import OPTIONS
from tests.circuits.tokens import pairs, windows
from zoo.circuits import Circuit, SparseTransformer, TokenPairTask
from zoo.circuits.analysis.controls import controls


def test_controls(model: SparseTransformer, circuit: Circuit, held_out: TokenPairTask) -> None:
    train = pairs(16)
    coins = torch.rand(16, generator=torch.Generator().manual_seed(0)).lt(0.5).repeat_interleave(2)
    nonsense = [
        TokenPairTask(t.tokens, t.right.where(coins, t.wrong), t.wrong.where(coins, t.right)) for t in (train, held_out)
    ]
    options = replace(OPTIONS, steps=20)
    found = controls(model, circuit, train, held_out, tuple(nonsense), windows(), options, draws=4)
    assert set(found) == {"random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights"}
    assert found["random_nodes"]["loss"] > circuit.report["circuit"]["loss"]
    assert not found["nonsense_task"]["reached"] and found["nonsense_task"]["held_out_loss"] > 0.5
    assert not found["shuffled_weights"]["reached"]
