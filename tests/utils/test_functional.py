"""The pure functions, each against a direct formula in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.utils.functional import (
    clusterability,
    distances_at,
    equal_clusters,
    high_activation_box,
    log_similarity,
    region_around,
    sparsemax,
    squared_distances,
    tied,
    upsample,
)


def direct(z: Tensor, prototypes: Tensor) -> Tensor:
    """(B, P, H, W) by plain differences, in float64."""
    return (z.double()[:, None] - prototypes.double()[None, :, :, None, None]).square().sum(2)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_squared_distances_are_within_a_millionth_of_the_squared_spread(offset: float, spread: float) -> None:
    """Without centring, an offset of 100 would cost four digits: the squares are 1e6 times the distances."""
    z, p = offset + spread * torch.randn(3, 32, 4, 5), offset + spread * torch.randn(7, 32)
    found, centre = squared_distances(z, p), p.double().mean(0)
    squares = (z.double() - centre[:, None, None]).square().sum(1)[:, None]
    squares = squares + (p.double() - centre).square().sum(1)[:, None, None]
    assert found.shape == (3, 7, 4, 5) and found.dtype == torch.float32 and found.min() >= 0
    assert ((found - direct(z, p)).abs() <= 1e-6 * squares).all()


def test_squared_distances_are_computed_in_fp32_under_autocast() -> None:
    z, p = torch.randn(2, 16, 3, 3).bfloat16(), torch.randn(5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        cast = squared_distances(z, p)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, squared_distances(z, p))
    torch.testing.assert_close(cast.double(), direct(z, p), rtol=1e-5, atol=1e-5)


def test_gradients_of_squared_distances_are_those_of_the_direct_formula() -> None:
    z, p, weight = torch.randn(2, 8, 3, 4), torch.randn(6, 8), torch.randn(2, 6, 3, 4)
    ours = [t.clone().requires_grad_() for t in (z, p)]
    (squared_distances(*ours) * weight).sum().backward()
    theirs = [t.double().requires_grad_() for t in (z, p)]
    (direct(*theirs) * weight).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


def test_distances_at_are_exact_to_a_millionth_and_zero_for_copies() -> None:
    z, p = torch.rand(3, 24, 4, 5), torch.rand(300, 24)  # more prototypes than one chunk
    cell = torch.randint(0, 20, (3, 300))
    p[299], cell[2, 299] = z[2, :, 1, 3], 1 * 5 + 3
    found = distances_at(z, p, cell)
    expected = direct(z, p).flatten(2).gather(2, cell[..., None])[..., 0]
    assert found.shape == (3, 300) and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    assert found[2, 299] == 0


def test_distances_at_keep_small_distances_that_the_product_loses() -> None:
    p = torch.full((1, 64), 5.0)
    p = torch.cat([p, -p])  # a wide spread, so the product rounds by far more than the distance
    z = p[0].clone().view(1, 64, 1, 1)
    z[0, 0] += 2**-10
    assert distances_at(z, p, torch.zeros(1, 2, dtype=torch.long))[0, 0] == 2**-20
    assert squared_distances(z, p)[0, 0, 0, 0] != 2**-20


@pytest.mark.parametrize(
    ("distance", "similarity"),
    [(0.0, math.log(1e4)), (1e-4, math.log(1.0001 / 2e-4)), (1.0, math.log(2 / 1.0001)), (9.0, math.log(10 / 9.0001))],
)
def test_log_similarity_at_known_distances(distance: float, similarity: float) -> None:
    assert log_similarity(torch.tensor(distance)).item() == pytest.approx(similarity, rel=1e-6)


def test_log_similarity_falls_with_distance_and_takes_its_epsilon() -> None:
    values = log_similarity(torch.logspace(-8, 2, 200))
    assert (values.diff() < 0).all() and values.min() > 0
    assert log_similarity(torch.tensor(0.0), 0.5).item() == pytest.approx(math.log(2))


def test_gradients_of_squared_distances_are_those_of_plain_differences() -> None:
    z, p, weight = torch.rand(3, 5, 4, 2), torch.rand(7, 5), torch.randn(3, 7, 4, 2)
    found, expected = (
        torch.autograd.grad((distances(*pair) * weight).sum(), pair)
        for distances in (squared_distances, direct)
        for pair in [(z.clone().requires_grad_(), p.clone().requires_grad_())]
    )
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_second_derivatives_of_squared_distances_are_those_of_plain_differences() -> None:
    z, p, found = torch.rand(2, 3, 2, 2), torch.rand(4, 3), []
    for distances in (squared_distances, direct):
        pair = z.clone().requires_grad_(), p.clone().requires_grad_()
        slopes = torch.autograd.grad(distances(*pair).sin().sum(), pair, create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), pair))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_values_that_rounding_tells_apart_tie() -> None:
    ones = 1 + torch.tensor([0.0, 3e-7, -2e-7])
    assert len(tied(ones).unique()) == 1 and len(ones.unique()) == 3
    assert tied(torch.tensor([0.5, 0.501, -torch.inf])).argsort().tolist() == [2, 0, 1]
    torch.testing.assert_close(tied(torch.linspace(-1, 1, 999)), torch.linspace(-1, 1, 999), rtol=0, atol=2**-17)


def test_upsample_keeps_leading_dimensions_and_constants() -> None:
    maps = torch.full((2, 3, 4, 5), 0.25, dtype=torch.bfloat16)
    up = upsample(maps, (32, 20))
    assert up.shape == (2, 3, 32, 20) and up.dtype == torch.float32
    torch.testing.assert_close(up, torch.full_like(up, 0.25))
    peak = torch.zeros(4, 4)
    peak[1, 2] = 1
    assert divmod(int(upsample(peak, (16, 16)).argmax()), 16) in {(i, j) for i in range(4, 8) for j in range(8, 12)}


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    levels=st.sampled_from([1, 2, 5, 1000]),
    percentile=st.sampled_from([50, 75, 90, 95, 99, 100]),
)
def test_high_activation_box_is_that_of_numpys_percentile(
    seed: int, height: int, width: int, levels: int, percentile: int
) -> None:
    maps = np.random.default_rng(seed).integers(0, levels, (3, height, width)).astype(np.float64)
    expected = []
    for one in maps:
        rows, columns = np.nonzero(one >= np.percentile(one, percentile))
        expected.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    assert high_activation_box(torch.from_numpy(maps), percentile).tolist() == expected


def test_high_activation_box_of_a_map_that_is_mostly_zero() -> None:
    maps = torch.zeros(2, 20, 20)
    maps[0, 3:5, 7:9] = 1.0
    assert high_activation_box(maps).tolist() == [[3, 7, 5, 9], [0, 0, 20, 20]]


def test_high_activation_box_of_forty_cells_holds_the_top_two() -> None:
    """Rounding half to even once let a third cell in wherever 5 % of the cells are an even number of them."""
    assert high_activation_box(torch.arange(40.0).view(1, 1, 40)).tolist() == [[0, 38, 1, 40]]


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    context=st.sampled_from([1.0, 1.5, 2.0, 3.7]),
)
def test_region_holds_the_box_and_stays_inside(
    height: int, width: int, corners: tuple[float, ...], context: float
) -> None:
    top, bottom = sorted(round(c * (height - 1)) for c in corners[:2])
    left, right = sorted(round(c * (width - 1)) for c in corners[2:])
    box = torch.tensor([top, left, bottom + 1, right + 1])
    up, near, down, far = region_around(box, (height, width), context).tolist()
    side = min(round(max(bottom + 1 - top, right + 1 - left) * context), height, width)
    assert down - up == far - near == side
    assert 0 <= up < down <= height and 0 <= near < far <= width
    shared = (min(down, bottom + 1) - max(up, top), min(far, right + 1) - max(near, left))
    assert shared == (min(bottom + 1 - top, side), min(right + 1 - left, side))  # the box, or all of it that fits


def test_sparsemax_of_hand_computed_scores() -> None:
    found = sparsemax(torch.tensor([[1.0, 0.8, 0.1], [0.0, 0.0, 0.0], [9.0, 1.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.4, 0.0], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close(sparsemax(torch.tensor([[1.0], [0.8]]), 0)[:, 0], torch.tensor([0.6, 0.4]))


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: list[float]) -> None:
    """Its optimality conditions: on the support z - p is one number τ, and off it z <= τ."""
    z = torch.tensor(scores, dtype=torch.float32)
    p = sparsemax(z)
    assert p.min() >= 0 and abs(float(p.sum()) - 1) < 1e-4
    threshold = (z - p)[p > 0]
    assert float(threshold.max() - threshold.min()) < 1e-4
    assert not bool((z[p == 0] > threshold.max() + 1e-4).any())


def test_sparsemax_of_large_scores() -> None:
    """Regression: above 2^24, adding 1 changes nothing, and the index of the threshold was -1."""
    found = sparsemax(torch.tensor([[1e9, 2.0, 1e9], [3e38, -3e38, 0.0], [torch.nan, 1.0, 2.0]]))
    assert found[:2].tolist() == [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]] and bool(found[2].isnan().all())


def test_the_gradient_of_sparsemax_is_centred_on_the_support() -> None:
    z = torch.tensor([1.0, 0.8, 0.1], requires_grad=True)
    v = torch.tensor([1.0, 5.0, 7.0])
    (gradient,) = torch.autograd.grad(sparsemax(z), z, v)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, 2.0, 0.0]))


def test_clusterability_by_hand() -> None:
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([0, 1])
    weight = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    assert clusterability(weight, rows, columns).item() == pytest.approx((1 + 9 + 16) / 30)
    blocks = torch.block_diag(torch.ones(2, 3), torch.ones(2, 3))
    assert clusterability(blocks, equal_clusters(4, 2), equal_clusters(6, 2)) == 1
    assert clusterability(torch.ones(8, 8), equal_clusters(8, 4), equal_clusters(8, 4)) == 0.25
    assert clusterability(torch.zeros(2, 2), equal_clusters(2, 2), equal_clusters(2, 2)) == 0


def test_equal_clusters_are_as_equal_as_can_be() -> None:
    assert equal_clusters(7, 3).bincount().tolist() == [3, 2, 2]
