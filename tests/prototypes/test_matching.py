"""Correspondence between patches against plain loops, and transport against a linear program."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional as F

from zoo.prototypes.matching import (
    cosines,
    cross_correlation,
    foreground,
    keypoints,
    marginals,
    match_by_mutual_patches,
    match_by_transport,
    mutual_nearest,
    sinkhorn,
)


def pairs_by_loop(queries: Tensor, others: Tensor, query_mask: Tensor, other_mask: Tensor) -> list[tuple[int, int]]:
    """Mutual nearest neighbours of one image, by two loops in fp64 and nothing else."""

    def nearest(x: Tensor, among: Tensor, mask: Tensor) -> int:
        best, found = float("inf"), -1
        for j in range(len(among)):
            distance = float(((x - among[j]) ** 2).sum())
            if mask[j] and distance < best:
                best, found = distance, j
        return found

    queries, others, pairs = queries.double(), others.double(), []
    for i in range(len(queries)):
        j = nearest(queries[i], others, other_mask) if query_mask[i] else -1
        if j >= 0 and nearest(others[j], queries, query_mask) == i:
            pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk", [16384, 7, 5])
def test_mutual_nearest_neighbours_are_those_of_a_double_loop(masked: bool, chunk: int) -> None:
    queries, others = torch.randn(3, 9, 4), torch.randn(23, 4)
    query_mask, other_mask = torch.rand(3, 9) < (0.5 if masked else 2), torch.rand(23) < (0.5 if masked else 2)
    query_mask[2] &= not masked  # an image without foreground matches nothing
    number, distance, mutual = mutual_nearest(queries, others, query_mask, other_mask, chunk)
    for b in range(3):
        found = [(i, int(number[b, i])) for i in mutual[b].nonzero()[:, 0].tolist()]
        assert found == pairs_by_loop(queries[b], others, query_mask[b], other_mask)
        assert len(found) > 0 or (masked and b == 2)
        for i, j in found:
            assert distance[b, i].item() == pytest.approx(((queries[b, i] - others[j]) ** 2).sum().item(), rel=1e-4)


def test_of_equal_vectors_the_lowest_number_is_the_nearest() -> None:
    others = torch.eye(3)[[0, 1, 1, 0]]
    for chunk in (1, 2, 4):
        number, distance, mutual = mutual_nearest(torch.eye(3)[None, [1, 0, 0]], others, chunk=chunk)
        assert number.tolist() == [[1, 0, 0]] and distance.tolist() == [[0, 0, 0]]
        assert mutual.tolist() == [[True, True, False]]


def test_foreground_by_hand() -> None:
    along = torch.tensor([[0.0, 1.0, 2.0, 3.0]])  # mean 1.5, standard deviation 1.118
    patches = torch.stack([along + 10, torch.randn(1, 4)], 2)
    axis, centre = torch.tensor([1.0, 0.0]), torch.tensor([10.0, 0.0])
    assert foreground(patches, axis, centre, 0.2).tolist() == [[False, False, True, True]]
    assert foreground(patches, axis, centre, 0.5).tolist() == [[False, False, False, True]]
    assert foreground(patches, -axis, centre, 0.2).tolist() == [[True, True, False, False]]


def test_every_point_is_a_keypoint_where_there_are_few() -> None:
    points, valid = torch.randn(3, 8, 2), torch.zeros(3, 8, dtype=torch.bool)
    valid[0, [1, 5]] = valid[1, [0, 2, 7]] = True
    assert torch.equal(keypoints(points, torch.rand(3, 8), valid, 3), valid)


def test_one_keypoint_of_each_far_cluster_and_that_of_largest_weight() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centres[:, None] + torch.randn(3, 5, 2) / 10).flatten(0, 1)
    weight, valid = torch.rand(15), torch.ones(15, dtype=torch.bool)
    valid[weight[:5].argmax()] = False  # the heaviest of the first cluster is no match
    expected = [int(k * 5 + weight.masked_fill(~valid, -1)[k * 5 : k * 5 + 5].argmax()) for k in range(3)]
    order = torch.randperm(15)
    found = keypoints(points[None, order], weight[None, order], valid[None, order], 3)[0]
    assert sorted(order[found].tolist()) == sorted(expected)


@pytest.mark.parametrize("count", [1, 4, 20])
def test_there_are_never_more_keypoints_than_asked_for(count: int) -> None:
    points = torch.randn(4, 12, 3).round()  # with points that coincide
    valid = torch.rand(4, 12) < 0.7
    valid[3] = False
    found = keypoints(points, torch.rand(4, 12), valid, count)
    assert (found.sum(1) <= count).all() and not (found & ~valid).any()
    assert (found.any(1) == valid.any(1)).all()


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
    found = match_by_transport(patches, others, pairs=9, epsilon=0.002, steps=500)
    torch.testing.assert_close(found.value[:, 0], torch.ones(2), rtol=0, atol=1e-4)
    assert (found.value[:, 1] < 0.8).all()
    assert torch.equal(found.query[:, 0].sort().values, torch.arange(9).expand(2, -1))
    assert torch.equal(found.query[:, 0], found.other[:, 0])
    found = match_by_mutual_patches(patches, others, 9, uniform=True)
    torch.testing.assert_close(found.value[:, 0], torch.ones(2))
    assert torch.equal(found.query[:, 0], found.other[:, 0])


def test_transport_weighs_patches_by_cross_correlation() -> None:
    patches, others = torch.rand(2, 4, 3), torch.rand(2, 5, 6, 3)
    found = match_by_transport(patches, others, pairs=3, epsilon=0.05, steps=300)
    for b in range(2):
        for k in range(5):
            mean_other, mean_own = others[b, k].mean(0), patches[b].mean(0)
            a, c = (patches[b] @ mean_other), (others[b, k] @ mean_own)
            cosine = F.cosine_similarity(patches[b][:, None], others[b, k][None], dim=2)
            plan = sinkhorn(1 - cosine, a / a.sum(), c / c.sum(), 0.05, 300)
            assert found.value[b, k].item() == pytest.approx(1 - (plan * (1 - cosine)).sum().item(), abs=2e-3)
            assert (found.query[b, k, 0] * 6 + found.other[b, k, 0]).item() == int((plan * cosine).argmax())


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
