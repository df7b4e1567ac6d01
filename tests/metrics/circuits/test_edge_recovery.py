"""Recovery of planted circuits: worked areas, teachers in disguise, and a student that learns one."""

import pytest
import torch
from torch.nn import functional as F

from zoo.data import PlantedCircuit
from zoo.metrics.circuits.edge_recovery import edge_recovery, pessimistic_area


@pytest.mark.parametrize(("points", "area"), [((0.5,), 1 / 4), ((0.25, 0.5), 5 / 16), ((), 0.0)])
def test_pessimistic_areas(points: tuple[float, ...], area: float) -> None:
    assert pessimistic_area(torch.tensor(points), torch.tensor(points)) == pytest.approx(area)


def test_perfect_and_useless_rates() -> None:
    assert pessimistic_area(torch.tensor([0.0]), torch.tensor([1.0])) == 1
    assert pessimistic_area(torch.tensor([1.0]), torch.tensor([0.0])) == 0


def test_a_teacher_in_disguise_is_recovered() -> None:
    data = PlantedCircuit()
    order, scale = torch.randperm(8), 0.2 + 3 * torch.rand(8)
    hidden = (data.first * scale)[:, order], (data.second / scale[:, None])[order]
    found = edge_recovery(hidden, (data.first, data.second))
    assert found.auc == 1 and found.true_positive_rate == 1 and found.false_positive_rate == 0
    assert order[found.order].equal(torch.arange(8))
    wider = torch.cat([hidden[0], torch.rand(16, 3)], 1), torch.cat([hidden[1], torch.rand(3, 4)])
    assert edge_recovery(wider, (data.first, data.second)).true_positive_rate == 1
    noise = torch.randn(16, 8), torch.randn(8, 4)
    assert edge_recovery(noise, (data.first, data.second)).auc < 0.8


def test_a_student_under_a_sparsity_penalty_learns_the_circuit() -> None:
    data = PlantedCircuit(features=20, hidden=6, classes=6, count=4000)
    rows, test, true = data.items("train", False), data.items("test", False), (data.first, data.second)
    torch.manual_seed(0)
    first, second = (torch.nn.Parameter(0.4 * torch.randn(*shape)) for shape in ((20, 10), (10, 6)))
    bias = torch.nn.Parameter(torch.zeros(6))
    before = edge_recovery((first.detach().clone(), second.detach().clone()), true)
    optimizer = torch.optim.Adam([first, second, bias], 0.02)
    for _ in range(600):
        scores = (rows.inputs @ first).relu() @ second + bias
        loss = F.cross_entropy(scores, rows.targets) + 2e-3 * (first.abs().sum() + second.abs().sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (((test.inputs @ first).relu() @ second + bias).argmax(1) == test.targets).double().mean()
    after = edge_recovery((first.detach(), second.detach()), true)
    assert right > 0.9 and after.auc > 0.9 > before.auc + 0.1
    assert after.true_positive_rate > before.true_positive_rate + 0.2


def test_the_world() -> None:
    data = PlantedCircuit()
    rows = data.items("test", False)
    assert data.ceiling == 1 and rows.targets.equal(data.score(rows.inputs).argmax(1))
    shares = torch.bincount(rows.targets, minlength=4) / len(rows.targets)
    assert shares.min() > 0.05
    assert (data.first != 0).sum(0).tolist() == [2] * 8 and (data.second != 0).sum(0).tolist() == [2] * 4
    matters = rows.regions[0, 0].bool()
    other = torch.where(matters, rows.inputs, 9.0)
    torch.testing.assert_close(data.score(other), data.score(rows.inputs))
    without = data.interventions("test", [3, 5], ["circuit"])
    assert without[:, ~matters].equal(rows.inputs[[3, 5]][:, ~matters])
    assert bool((without[:, matters] != rows.inputs[[3, 5]][:, matters]).all())
    again = PlantedCircuit().items("test", False).inputs
    assert again.equal(rows.inputs) and not PlantedCircuit(seed=1).items("test", False).inputs.equal(again)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="1 <= fan_in <= features and hidden; got 4, 9, 16 and 8"):
        PlantedCircuit(fan_in=9)
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        PlantedCircuit(count=0)
    a, b = torch.rand(5, 3), torch.rand(3, 2)
    with pytest.raises(ValueError, match=r"got \(5, 2\), \(2, 2\), \(5, 3\) and \(3, 2\)"):
        edge_recovery((torch.rand(5, 2), torch.rand(2, 2)), (a, b))
    with pytest.raises(ValueError, match="at least one non-zero entry"):
        edge_recovery((a, b), (torch.zeros(5, 3), torch.zeros(3, 2)))
