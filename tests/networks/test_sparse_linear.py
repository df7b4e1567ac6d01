"""SAGA: against an independent solver, monotone where it must be, exact zeros."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_linear import _lipschitz, objective, path, saga, truncate

CLASSES = 3


def problem(rows: int = 120, columns: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(rows, columns, generator=draw)
    truth = torch.zeros(CLASSES, columns)
    truth[0, 0], truth[1, 1], truth[2, 2] = 3, 3, -3
    return z, (z @ truth.T + 0.5 * torch.randn(rows, CLASSES, generator=draw)).argmax(1)


@cache
def proximal_reference(lam: float, alpha: float = 0.99) -> tuple[Tensor, Tensor]:
    """Plain proximal gradient descent in float64 by autograd, to convergence."""
    z, target = problem()
    z, step = z.double(), 0.5 / _lipschitz(torch.cat([z, torch.ones(len(z), 1)], 1))
    weight, bias = torch.zeros(CLASSES, z.shape[1]).double(), torch.zeros(CLASSES).double()
    for _ in range(4000):
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        gw, gb = torch.autograd.grad(F.cross_entropy(z @ w.T + b, target), (w, b))
        moved = weight - step * gw
        weight = moved.sign() * (moved.abs() - step * lam * alpha).clamp_min(0) / (1 + step * lam * (1 - alpha))
        bias = bias - step * gb
    return weight, bias


@pytest.mark.parametrize(("batch_size", "epochs"), [(16, 400), (1000, 1500)])
def test_agrees_with_an_independent_solver(batch_size: int, epochs: int) -> None:
    z, target = problem()
    found = saga(z, target, CLASSES, 0.02, batch_size=batch_size, epochs=epochs, tolerance=0)
    weight, bias = proximal_reference(0.02)
    best = objective(z.double(), target, weight, bias, 0.02)
    assert found.objective[-1] - best < 1e-4
    torch.testing.assert_close(found.weight.double(), weight, rtol=0, atol=1e-3)
    assert ((found.weight == 0) == (weight == 0)).float().mean() > 0.9  # exact zeros, in the same places


def test_full_batches_never_raise_the_objective() -> None:
    z, target = problem()
    history = saga(z, target, CLASSES, 0.01, batch_size=len(z), epochs=200, tolerance=0).objective
    assert len(history) == 200 and all(b <= a + 1e-6 for a, b in pairwise(history))


def test_gradient_by_a_product_is_the_mean_of_outer_products() -> None:
    z, target = problem(20)
    weight, bias = torch.randn(CLASSES, 6), torch.zeros(CLASSES)
    residual = (z @ weight.T + bias).softmax(1) - F.one_hot(target, CLASSES)
    outer = (residual[:, :, None] * z[:, None]).mean(0)
    w = weight.clone().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(z @ w.T + bias, target), w)
    torch.testing.assert_close(residual.T @ z / 20, outer)
    torch.testing.assert_close(outer, expected)


def test_objective_by_hand() -> None:
    z, target = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    weight, bias = torch.tensor([[2.0, 0.0], [0.0, -1.0]]), torch.tensor([0.0, 0.5])
    expected = math.log(1 + math.exp(0.5 - 2)) + 0.1 * (0.99 * 3 + 0.005 * 5)
    assert objective(z, target, weight, bias, 0.1) == pytest.approx(expected, rel=1e-5)


def test_path_starts_empty_and_fills() -> None:
    z, target = problem()
    solutions = list(path(z, target, CLASSES, length=60, epochs=60))
    densities = [s.density for s in solutions]
    assert densities[0] == 0 and densities[-1] > 0.5 and len(solutions) == 60
    assert all(b >= a - 0.12 for a, b in pairwise(densities))
    assert solutions[10].lam == pytest.approx(solutions[0].lam / 2, rel=1e-5)


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_truncation_keeps_exactly_so_many(per_class: int, seed: int) -> None:
    weight = torch.randint(-3, 4, (4, 9), generator=torch.Generator().manual_seed(seed)).float() + 0.5
    left = truncate(weight, per_class)
    assert int((left != 0).sum()) == per_class * 4
    kept = left != 0
    assert torch.equal(left[kept], weight[kept]) and weight[kept].abs().min() >= weight[~kept].abs().max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: saga(z, y[:-1], 3, 0.1), r"scores \(N, k\) and targets \(N,\); got \(120, 6\) and \(119,\)"),
        (lambda z, y: saga(z, y, 3, -1.0), r"lam >= 0 and alpha in \[0, 1\]; got -1.0 and 0.99"),
        (lambda z, y: truncate(torch.eye(3), 2), r"cannot keep 6 weights \(2 per class\); only 3 are non-zero"),
    ],
)
def test_what_cannot_be(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*problem())
