"""Matches of two images against plain loops, and optimal transport against a linear program."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional as F

from tests.prototypes.layers.test_matching import pairs_by_loop
from zoo.prototypes.layers.pairwise import (
    cosines,
    cross_correlation,
    marginals,
    match_by_mutual_patches,
    match_by_transport,
    sinkhorn,
)


def earth_mover(cost: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The exact distance, by the simplex method."""
    n, m = cost.shape
    of_rows, of_columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    found = linprog(cost.ravel(), A_eq=np.vstack([of_rows, of_columns]), b_eq=np.concatenate([rows, columns]))
    assert found.success
    return found.fun


def transport_problem(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    cost = 2 * torch.rand(*shape)
    return cost, torch.rand(shape[:-1]).add(0.1).softmax(-1), torch.rand(*shape[:-2], shape[-1]).softmax(-1)


def test_sinkhorn_is_within_one_percent_of_the_linear_program() -> None:
    cost, rows, columns = transport_problem(6, 5, 5)
    plan = sinkhorn(cost, rows, columns, epsilon=0.005, steps=2000)
    for k in range(6):
        exact = earth_mover(*(t[k].double().numpy() for t in (cost, rows, columns)))
        assert (plan[k] * cost[k]).sum().item() == pytest.approx(exact, rel=0.01)
        assert exact > 0.05


@pytest.mark.parametrize("epsilon", [0.03, 0.05, 0.5])
def test_plans_meet_their_marginals(epsilon: float) -> None:
    cost, rows, columns = transport_problem(4, 3, 6, 7)
    plan = sinkhorn(cost, rows, columns, epsilon, steps=1000)
    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(-2), columns, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(plan.sum(-1), rows, rtol=1e-2, atol=1e-3)


def test_scalings_and_logarithms_agree() -> None:
    cost, rows, columns = transport_problem(3, 9, 9)
    cost[0, :, 0], cost[0, 0] = 0.0, 2.0  # the first row must pay all it can
    by_scaling = sinkhorn(cost, rows, columns, epsilon=1 / 30, steps=200)
    by_logarithms = sinkhorn(cost, rows, columns, epsilon=1 / 30 - 1e-7, steps=200)
    torch.testing.assert_close(by_scaling, by_logarithms, rtol=1e-3, atol=1e-6)


def test_identical_images_are_at_distance_zero() -> None:
    patches = torch.randn(2, 9, 16)
    others = torch.stack([patches, torch.randn(2, 9, 16)], 1)  # each against itself, and against noise
    found = match_by_transport(patches, others, pairs=9, epsilon=0.002, steps=500, every=True)
    torch.testing.assert_close(found.value[:, 0], torch.ones(2), rtol=0, atol=1e-4)
    assert (found.value[:, 1] < 0.8).all()
    assert torch.equal(found.query[:, 0].sort().values, torch.arange(9).expand(2, -1))
    assert torch.equal(found.query[:, 0], found.other[:, 0])
    found = match_by_mutual_patches(patches, others, 9, uniform=True)
    torch.testing.assert_close(found.value[:, 0], torch.ones(2))
    assert torch.equal(found.query[:, 0], found.other[:, 0])


def test_transport_weighs_patches_by_cross_correlation() -> None:
    patches, others = torch.rand(2, 4, 3), torch.rand(2, 5, 6, 3)
    found = match_by_transport(patches, others, pairs=3, epsilon=0.05, steps=300, every=True)
    largest = match_by_transport(patches, others, pairs=3, epsilon=0.05, steps=300)
    for b in range(2):
        for k in range(5):
            mean_other, mean_own = others[b, k].mean(0), patches[b].mean(0)
            a, c = (patches[b] @ mean_other), (others[b, k] @ mean_own)
            cosine = F.cosine_similarity(patches[b][:, None], others[b, k][None], dim=2)
            plan = sinkhorn(1 - cosine, a / a.sum(), c / c.sum(), 0.05, 300)
            assert found.value[b, k].item() == pytest.approx(1 - (plan * (1 - cosine)).sum().item(), abs=2e-3)
            assert (found.query[b, k, 0] * 6 + found.other[b, k, 0]).item() == int((plan * cosine).argmax())
            # As published: the three largest flows.
            cells = sorted(range(24), key=lambda c, plan=plan: -plan.flatten()[c].item())[:3]
            value = sum((plan * cosine).flatten()[c].item() for c in cells)
            assert largest.value[b, k].item() == pytest.approx(value, abs=2e-3)
            assert (largest.query[b, k] * 6 + largest.other[b, k]).tolist() == cells


def test_cross_correlation_of_images_that_do_not_agree_is_defined() -> None:
    shares = cross_correlation(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3))
    shares = cross_correlation(torch.tensor([[1.0, 0.0], [3.0, 1.0], [-1.0, 0.0]]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75, 0.0]), rtol=1e-2, atol=1e-3)
    assert (shares > 0).all()


@pytest.mark.parametrize("uniform", [True, False])
def test_mutual_patches_are_those_of_a_loop(uniform: bool) -> None:
    patches, others = torch.randn(2, 8, 5), torch.randn(2, 3, 7, 5)
    found = match_by_mutual_patches(patches, others, 6, uniform)
    a, b_ = marginals(patches, others)
    everything = torch.ones(8, dtype=torch.bool)
    for b in range(2):
        for k in range(3):
            one, two = F.normalize(patches[b], dim=1), F.normalize(others[b, k], dim=1)
            pairs = pairs_by_loop(one, two, everything, everything[:7])
            table = cosines(patches[b : b + 1], others[b : b + 1, k : k + 1])[0, 0]
            weight = lambda i, j, b=b, k=k: 1 / 6 if uniform else math.sqrt(a[b, k, i] * b_[b, k, j])  # noqa: E731
            best = sorted(((weight(i, j) * table[i, j].item(), i, j) for i, j in pairs), reverse=True)[:6]
            assert found.value[b, k].item() == pytest.approx(sum(c for c, _, _ in best), abs=1e-5)
            missing = [-1] * (6 - len(best))
            assert found.query[b, k].tolist() == [i for _, i, _ in best] + missing
            assert found.other[b, k].tolist() == [j for _, _, j in best] + missing
            assert (found.similarity[b, k, len(best) :] == 0).all()
