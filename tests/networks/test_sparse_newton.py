"""The converged sparse classifier: optimality conditions, agreement with scikit-learn, and the levels of a path."""

import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_levels import first_with
from zoo.networks.sparse_linear import ALPHA, RATIO, largest_penalty, objective, saga
from zoo.networks.sparse_newton import path, solve


def problem(rows: int = 300, width: int = 8, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Strongly correlated scores, and classes that depend on them."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(rows, width, generator=draw) @ torch.randn(width, width, generator=draw)
    z = z + 3 * torch.randn(rows, 1, generator=draw)
    noise = torch.randn(rows, classes, generator=draw)
    target = (z @ torch.randn(width, classes, generator=draw) + 2 * noise).argmax(1)
    return (z - z.mean(0)) / z.std(0), target


@pytest.mark.parametrize("lam", [0.1, 0.01, 0.001])
def test_the_solution_is_optimal(lam: float) -> None:
    """Subgradient: where a weight is 0, the slope is at most λα; elsewhere it balances the penalty."""
    z, target = (t.double() if t.is_floating_point() else t for t in problem())
    found = solve(z, target, 4, lam, tolerance=1e-12)
    residual = (z @ found.weight.T + found.bias).softmax(1) - F.one_hot(target, 4)
    slope, used = residual.T @ z / len(z), found.weight != 0
    assert slope[~used].abs().le(lam * ALPHA + 1e-5).all()
    balance = slope + lam * (ALPHA * found.weight.sign() + (1 - ALPHA) * found.weight)
    assert balance[used].abs().max() < 1e-5 and residual.mean(0).abs().max() < 1e-5


def test_the_objective_is_at_most_that_of_saga() -> None:
    z, target = problem()
    ours = solve(z, target, 4, 0.002)
    theirs = saga(z, target, 4, 0.002, epochs=300, tolerance=0)
    found, reference = (objective(z, target, s.weight, s.bias, 0.002) for s in (ours, theirs))
    assert found < reference * (1 + 1e-3)
    assert sum(b > a + 1e-6 for a, b in zip(ours.objective, ours.objective[1:], strict=False)) <= 1


@pytest.mark.parametrize("lam", [0.02, 0.005])
def test_objective_and_support_are_those_of_scikit_learn(lam: float) -> None:
    """Its SAGA solver, run until no weight changes by 1e-8, has the same objective and the same weights of 0."""
    z, target = problem()
    older = {"penalty": "elasticnet"} if LogisticRegression().get_params().get("penalty") == "l2" else {}
    options: dict[str, Any] = {"l1_ratio": ALPHA, "C": 1 / (len(z) * lam), "solver": "saga", "random_state": 0} | older
    theirs = LogisticRegression(tol=1e-8, max_iter=50_000, **options).fit(z.double().numpy(), target.numpy())
    weight, bias = torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)
    ours = solve(z.double(), target, 4, lam, tolerance=1e-10)
    found = objective(z.double(), target, ours.weight, ours.bias, lam)
    assert found == pytest.approx(objective(z.double(), target, weight, bias, lam), rel=1e-9)
    assert ((ours.weight != 0) == (weight != 0)).all()
    assert (ours.weight - weight).abs().max() < 1e-3


def test_levels_are_those_of_the_whole_path() -> None:
    """Heads are exact for their λ, and this is the first with so many weights, or one next to it but one."""
    z, target = problem()
    heads, largest = first_with(z, target, 4, [4, 12, 20, 99]), largest_penalty(z, target, 4)
    assert sorted(heads) == [4, 12, 20]
    start, first, values = None, {}, []
    for place in range(41):
        start = solve(z.double(), target, 4, largest * RATIO**place, tolerance=1e-9, start=start)
        values.append(start.objective[-1])
        for count in heads:
            if int((start.weight != 0).sum()) >= count:
                first.setdefault(count, place)
    for count, head in heads.items():
        place = round(-10 * math.log2(head.lam / largest))
        assert int((head.weight != 0).sum()) >= count and abs(place - first[count]) <= 2
        value = objective(z.double(), target, head.weight.double(), head.bias.double(), head.lam)
        assert value == pytest.approx(values[place], rel=3e-5)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"expected scores \(N, k\) and targets \(N,\); got \(4, 2\) and \(3,\)"):
        solve(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long), 2, 0.1)


def test_a_path_begins_without_weights() -> None:
    z, target = problem()
    counts = [int((solution.weight != 0).sum()) for solution in path(z, target, 4, length=12)]
    assert counts[0] == 0 and counts[-1] > 8
    assert int((solve(z, target, 4, largest_penalty(z, target, 4) * 0.9).weight != 0).sum()) > 0
