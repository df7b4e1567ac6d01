"""Pruning finds a circuit that is sufficient, necessary and small."""

import pytest

from tests.circuits.conftest import OPTIONS
from tests.circuits.tokens import pairs, transformer
from zoo.circuits import Circuit, SparseTransformer, TokenPairTask, prune


def test_the_circuit_is_sufficient_and_necessary(circuit: Circuit) -> None:
    report = circuit.report
    assert report["train"]["loss"] <= OPTIONS.target
    assert report["circuit"]["accuracy"] > 0.9
    assert report["without"]["accuracy"] < 0.6
    assert 0 < report["nodes"] < report["all_nodes"] / 4
    assert report["edges"] == len(circuit.edges.source) <= report["possible_edges"]
    assert report["edges"] <= report["before_refinement"]["edges"] < report["all_edges"]


def test_a_model_without_means() -> None:
    with pytest.raises(RuntimeError, match="no measured node means"):
        prune(transformer(), "task", pairs(4), pairs(4))


def test_a_task_that_the_model_does_not_solve(model: SparseTransformer) -> None:
    task = pairs(8)
    wrong = TokenPairTask(task.tokens, task.wrong, task.right)
    with pytest.raises(
        RuntimeError, match=r"the loss of the complete model on 'wrong' is .* above the target of 0\.15"
    ):
        prune(model, "wrong", wrong, task, OPTIONS)
