"""NEC, NCC and ANEC by hand, and the random control beside the concepts."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import zoo
from zoo.cli.main import main
from zoo.concepts import PostHocCBM
from zoo.data import ConceptToy
from zoo.metrics import accuracy_at_levels, covering_concepts, effective_concepts, sparsity_report
from zoo.training.projection_set import ProjectionSet


def test_effective_concepts_are_counted() -> None:
    assert effective_concepts(torch.tensor([[0.0, 2, -1], [0, 0, 0]])) == 1.0


def test_covering_concepts_by_hand() -> None:
    weight = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]])
    activation = torch.tensor([[6.0, -3, 1, 0]])
    # class 0: 6, 3, 1, 0 of 10: two make 90 %, three make 100 %; class 1: one makes all
    assert covering_concepts(activation, weight, 0.9) == 1.5
    assert covering_concepts(activation, weight, 0.95) == 2.0
    assert covering_concepts(activation, weight, 1.0) == 2.0
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]; got 1.5"):
        covering_concepts(activation, weight, 1.5)


@given(st.integers(0, 2**31))
def test_all_of_it_needs_the_effective_concepts(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 7, generator=draw) * (torch.rand(3, 7, generator=draw) > 0.4)
    activation = torch.rand(5, 7, generator=draw) + 0.1
    assert covering_concepts(activation, weight, 1.0, chunk=2) == pytest.approx(effective_concepts(weight))


def problem(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, concepts that are two of their sums, and the class that follows from these two."""
    draw = torch.Generator().manual_seed(rows)
    features = torch.randn(rows, 30, generator=draw)
    concepts = torch.cat([features[:, :15].sum(1, keepdim=True), features[:, 15:].sum(1, keepdim=True)], 1)
    rest = torch.randn(rows, 6, generator=draw)
    return features, torch.cat([concepts, rest], 1), (concepts > 0).long() @ torch.tensor([1, 2])


def test_accuracy_rises_with_the_concepts_that_count() -> None:
    (_, train, y), (_, test, y_test) = problem(600), problem(400)
    one, two, never = accuracy_at_levels((train, y), (test, y_test), 4, (1, 2, 99))
    assert one is not None and two is not None and never is None
    assert one + 0.05 < two and two > 0.5  # early on the path weights are small, so some rows are still undecided


def test_report_sets_random_directions_beside_the_concepts() -> None:
    (f, train, y), (f_test, test, y_test) = problem(600), problem(401)
    (level,) = sparsity_report((train, test), (f, f_test), (y, y_test), 4, (2,))
    assert level.concepts == 2 and level.accuracy is not None and level.random is not None
    assert level.accuracy > level.random + 0.2


def test_evaluate_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = ConceptToy("trig", count=300)
    torch.manual_seed(0)
    model = PostHocCBM(data.domain, backbone={"name": "mlp", "widths": [16]}).eval()
    model.learn_bank(ProjectionSet(data.projection_dataset()))
    model.sparsify(ProjectionSet(data.projection_dataset()))
    zoo.save(model, tmp_path / "checkpoint")
    config = tmp_path / "c.yaml"
    config.write_text("data: {class_path: ConceptToy, init_args: {name: trig, count: 300}}\n")
    arguments = ["evaluate", "--checkpoint", str(tmp_path / "checkpoint"), "--config", str(config)]
    assert main([*arguments, "--sparsity", "1,2", "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "sparsity.json").read_text())
    assert record["concepts"] == 3 and [level["concepts"] for level in record["levels"]] == [1, 2]
    assert "random concepts" in capsys.readouterr().out
    assert main([*arguments, "--sparsity", "0"]) == 2
