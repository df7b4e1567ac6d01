"""Scoring systems: scores by hand, the search against all integer points, curves and card of known points."""

from dataclasses import replace
from itertools import combinations, product
from math import exp
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

import zoo
from tests.additive.test_nam import credit_rows
from tests.domain.test_columns import CREDIT
from tests.small_models import IMAGES, ROWS
from zoo.additive import ScoringSystem
from zoo.additive.layers.risk_scores import (
    Rows,
    Search,
    calibrate,
    find_risk_score,
    fit_logistic,
    sequential_rounding,
    tabulate,
)
from zoo.additive.layers.score_card import totals
from zoo.cli.main import main
from zoo.domain import TableDomain
from zoo.training.projection_set import ProjectionSet

PEOPLE = TableDomain(classes=("healthy", "ill"), features=("age", "dose"), mean=(50.0, 0.0), std=(10.0, 1.0))


def some_rows(count: int = 400, literals: int = 5) -> Rows:
    torch.manual_seed(0)
    x = (torch.rand(count, literals) < torch.linspace(0.2, 0.8, literals)).double()
    score = x @ torch.tensor([1.7, -1.2, 0.6, 0.1, -0.4], dtype=torch.float64)[:literals] - 0.3
    sign = (torch.rand(count) < torch.sigmoid(score)).double() * 2 - 1
    weight = torch.rand(count, dtype=torch.float64)
    return Rows(x.T, sign, weight / weight.sum())


def test_logistic_regressions_have_no_gradient_and_known_losses() -> None:
    rows = some_rows()
    beta, losses = fit_logistic(tabulate(rows, torch.tensor([[0, 1], [2, 4]])))
    for b, support, loss in zip(beta, ([0, 1], [2, 4]), losses, strict=True):
        free = b.clone().requires_grad_()
        score = free[0] + free[1:] @ rows.literals[support]
        value = (F.softplus(-rows.sign * score) * rows.weight).sum()
        torch.testing.assert_close(value.detach(), loss)
        (value + 0.5e-5 * free.square().sum()).backward()
        assert free.grad is not None and free.grad.abs().max() < 1e-6


def test_calibration_is_a_logistic_regression_on_the_total() -> None:
    rows, support = some_rows(), torch.tensor([0, 1, 4])
    points = torch.tensor([[4.0, -3.0, -1.0], [5.0, 5.0, 1.0], [1.0, -1.0, 0.0]], dtype=torch.float64)
    cells = tabulate(rows, support[None])
    for value, offset, multiplier, loss in zip(points, *calibrate(cells.design, cells.weight[0], points), strict=True):
        free = torch.stack([-offset / multiplier, 1 / multiplier]).requires_grad_()
        score = free[0] + free[1] * (value @ rows.literals[support])
        found = (F.softplus(-rows.sign * score) * rows.weight).sum()
        torch.testing.assert_close(found.detach(), loss)
        (found + 0.5e-5 * free.square().sum()).backward()
        assert free.grad is not None and free.grad.abs().max() < 1e-6


def test_rounding_is_greedy_in_the_quadratic_form() -> None:
    torch.manual_seed(0)
    values, root = torch.randn(3, 4, dtype=torch.float64) * 3, torch.randn(3, 6, 4, dtype=torch.float64)
    gram = root.mT @ root
    for value, matrix, found in zip(values, gram, sequential_rounding(values, gram), strict=True):
        difference, left = torch.zeros(4, dtype=torch.float64), list(range(4))
        while left:
            tried = {}
            for j in left:
                for whole in (value[j].floor(), value[j].ceil()):
                    changed = difference.clone()
                    changed[j] = whole - value[j]
                    tried[j, float(whole)] = (float(changed @ matrix @ changed), changed)
            (j, _), (_, difference) = min(tried.items(), key=lambda item: item[1][0])
            left.remove(j)
        torch.testing.assert_close(found, value + difference)


def test_the_search_finds_the_best_of_all_points_of_a_small_problem() -> None:
    rows = some_rows()
    every = torch.tensor(list(product(range(-2, 3), repeat=2)), dtype=torch.float64)
    best = 1.0
    for support in combinations(range(5), 2):
        cells = tabulate(rows, torch.tensor([support]))
        best = min(best, float(calibrate(cells.design, cells.weight[0], every)[2].min()))
    found = find_risk_score(rows, Search(features=2, largest=2))
    assert found.loss == pytest.approx(best, rel=1e-6) and len(found.literals) == 2
    assert max(map(abs, found.points)) <= 2


def people(count: int = 3000) -> tuple[Tensor, Tensor]:
    """Rows whose risk is (3 [age >= 60] - 2 [dose >= 0.5] - 1) / 1.25."""
    torch.manual_seed(1)
    age = torch.randint(20, 90, (count,)).float()
    x = PEOPLE.normalise(torch.stack([age, torch.randint(0, 3, (count,)) / 2], 1))
    score = (3.0 * (age >= 60) - 2.0 * (x[:, 1] >= 0.5) - 1) / 1.25
    return x, (torch.rand(count) < score.sigmoid()).long()


def test_a_known_card_is_found() -> None:
    x, y = people()
    model = ScoringSystem(PEOPLE, features=2, thresholds=100).eval()
    with pytest.raises(RuntimeError, match="has no points yet"):
        model.curves()
    model.search(ProjectionSet(TensorDataset(x, y), batch_size=500))
    lines = dict(model.lines())
    dose = next(name for name in lines if name.startswith("dose"))
    age = next(name for name in lines if name.startswith("age"))
    assert dose == "dose >= 0.5" and abs(float(age.split(">= ")[1]) - 60) <= 1
    ratio = lines[age] / -lines[dose]
    assert 1.2 < ratio < 2 and model.multiplier > 0
    scores = model(x).detach()
    offset, multiplier = model.offset.item(), model.multiplier.item()
    risk = (scores[:, 1] - scores[:, 0]).sigmoid()
    assert abs(risk.mean() - y.float().mean()) < 1e-3  # calibrated in the mean
    total = sum(points * float(model.literals(x[:1], model.inputs[i : i + 1], model.thresholds[i : i + 1]))
                for i, (_, points) in enumerate(model.lines()))  # fmt: skip
    assert float(risk[0]) == pytest.approx(1 / (1 + exp(-(total - offset) / multiplier)), abs=1e-5)
    assert f"{float(risk[0]):.1%}" in model.card() and f"{lines[age]:+d}" in model.card()
    units = model.units()
    assert [u.source["points"] for u in units] == [points for _, points in model.lines()]
    curve = model.curves()[[u.name for u in units].index(age)]
    assert curve.values[0].tolist() == [0, 0] and abs(float(curve.values[1, 1]) * 2 - 2.4) < 0.4
    k = [u.name for u in units].index(age)
    place = model.literals.entries(x, int(model.inputs[k]), float(model.thresholds[k]))
    explained = model.explain(x, "ill").contributions
    assert explained is not None
    torch.testing.assert_close(curve.values[place, 1], explained[:, k])
    torch.testing.assert_close(curve.density[1], (x[:, 0] >= 1.0).float().mean(), atol=0.02, rtol=0)


def test_conditions_of_columns_of_all_kinds() -> None:
    x = credit_rows()
    model = ScoringSystem(replace(CREDIT, classes=("bad", "good")), features=6).eval()
    inputs, thresholds = model.literals.candidates(x, 9)
    names = [model.literals.text(f, t) for f, t in zip(inputs.tolist(), thresholds.tolist(), strict=True)]
    assert {"risk >= 50", "risk >= 85", "risk is -7", "risk is missing", "job = clerk", "job is ?"} <= set(names)
    assert "school >= high" in names and "risk >= 40" not in names  # every row is at or above the lowest value
    holds = model.literals(x, inputs, thresholds)
    cells = [CREDIT.cells(row) for row in x]
    for name, column in zip(names, holds.T, strict=True):
        for cell, found in zip(cells, column.tolist(), strict=True):
            if name.startswith("risk >= "):
                known = cell["risk"] not in ("-7", "missing")
                assert found == float(known and float(cell["risk"]) >= float(name.split()[-1]))
            elif name.startswith("job ="):
                assert found == float(cell["job"] == name.split(" = ")[1])
    for j in range(len(names)):
        model.inputs[0], model.thresholds[0], model.points[0] = inputs[j], thresholds[j], 2
        axis, curve = model.literals.axis(int(inputs[j]), float(thresholds[j]))
        entries = model.literals.entries(x, int(inputs[j]), float(thresholds[j]))
        assert int(entries.max()) < len(axis)
        assert torch.equal(curve[entries], holds[:, j])
        support = model.explain(x).support
        assert support is not None
        other = torch.where(support[0, 0] == 1, x, torch.randn_like(x))
        assert torch.equal(model.literals(other, inputs[j : j + 1], thresholds[j : j + 1]), holds[:, j : j + 1])


class Weighted(Dataset):
    """Rows with weights."""

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        self.rows = x, y, weight

    def __len__(self) -> int:
        return len(self.rows[0])

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return dict(zip(("input", "target", "weight"), (t[i] for t in self.rows), strict=True))


def test_weights_of_rows_count_as_repetitions() -> None:
    x, y = people(200)
    weight = torch.randint(0, 4, (200,))
    first, second = (ScoringSystem(PEOPLE, features=2, thresholds=5, pool=3) for _ in range(2))
    first.search(ProjectionSet(Weighted(x, y, weight.float())))
    second.search(ProjectionSet(TensorDataset(x.repeat_interleave(weight, 0), y.repeat_interleave(weight))))
    assert first.literals.candidates(x, 5)[0].numel() == 7
    first.points[1] = 0
    unused = first.curves()[1]
    assert unused.axes[0].column == "" and unused.values.tolist() == [[0, 0]] and first.units()[1].source["pruned"]
    first.points[1] = second.points[1]
    assert first.lines() == second.lines() and first.offset.item() == pytest.approx(second.offset.item(), abs=1e-4)


def test_other_tasks_are_refused_and_totals_are_those_of_subsets() -> None:
    with pytest.raises(ValueError, match="gives the risk of one of two classes; the data have 3 classes"):
        ScoringSystem(ROWS)
    with pytest.raises(ValueError, match="reads rows of a table"):
        ScoringSystem(IMAGES)
    assert totals([3, -2]) == [-2, 0, 1, 3]
    model = ScoringSystem(PEOPLE)
    with pytest.raises(ValueError, match="training rows of both classes"):
        model.search(ProjectionSet(TensorDataset(torch.randn(9, 2), torch.zeros(9, dtype=torch.long))))


def test_show_prints_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = people(200)
    model = ScoringSystem(PEOPLE, features=2, thresholds=5, pool=3).eval()
    model.search(ProjectionSet(TensorDataset(x, y)))
    zoo.save(model, tmp_path / "card")
    assert main(["show", "--checkpoint", str(tmp_path / "card"), "--output", str(tmp_path / "page.html")]) == 0
    printed = capsys.readouterr().out
    assert model.card() in printed and "Risk of ill" in printed and (tmp_path / "page.html").exists()
