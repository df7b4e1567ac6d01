"""Spatial misalignment by hand, and what the two ways to change an image outside of a box promise."""

import math

import pytest
import torch
from torch import Tensor

from zoo.metrics import SpatialMisalignment, attack_outside, noise_outside, outside_box
from zoo.metrics.misalignment import highest


def bump(column: int, size: int = 10) -> Tensor:
    """(1, 1, size, size) support that is highest in one column: a tenth of the image."""
    support = torch.zeros(1, 1, size, size)
    support[..., column] = 1
    return support


def values(metric: SpatialMisalignment) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_nothing_moves_nothing() -> None:
    metric = SpatialMisalignment()
    seen = (torch.tensor([[2.0, 1.0]]), torch.rand(1, 2, 4, 4))
    metric.update(seen, seen, torch.tensor([0]), torch.tensor([[False, True]]), (8, 8))
    assert values(metric) == {"PLC": 0, "PAC": 0, "PRC": 0, "images": 1, "without PAC": 0}


def test_two_images_by_hand() -> None:
    """The first unit moves away, halves, and two of three others pass it; the second rises and has no others."""
    metric = SpatialMisalignment()
    still = torch.zeros(1, 3, 10, 10)
    before, after = torch.tensor([[4.0, 3.0, 5.0, 1.0]]), torch.tensor([[2.0, 3.0, 5.0, 2.5]])
    others = torch.tensor([[False, True, True, True]])
    metric.update(
        (before, torch.cat([bump(1), still], 1)),
        (after, torch.cat([bump(8), still], 1)),
        torch.tensor([0]),
        others,
        (10, 10),
    )
    assert values(metric) == {"PLC": 100, "PAC": 50, "PRC": 2, "images": 1, "without PAC": 0}
    moved = torch.cat([bump(1), still], 1)
    metric.update((before, moved), (2 * before, moved), torch.tensor([0]), torch.zeros_like(others), (10, 10))
    assert values(metric) == {"PLC": 50, "PAC": -25, "PRC": 1, "images": 2, "without PAC": 0}


def test_half_an_overlap() -> None:
    before, after = (torch.zeros(1, 1, 10, 10) for _ in range(2))
    before[..., 0, :], after[..., 0, :5], after[..., 5, :5] = 1, 1, 1
    metric = SpatialMisalignment()
    one = torch.ones(1, 1)
    metric.update((one, before), (one, after), torch.tensor([0]), one < 0, (10, 10))
    assert values(metric)["PLC"] == pytest.approx(100 * (1 - 5 / 15))


def test_an_activation_that_is_not_positive_has_no_relative_change() -> None:
    metric = SpatialMisalignment()
    for activation in (-1.0, 0.0, 2.0):
        a = torch.tensor([[activation]])
        metric.update((a, bump(0)), (a / 2, bump(0)), torch.tensor([0]), a.isnan(), (10, 10))
    assert values(metric)["PAC"] == 50 and values(metric)["without PAC"] == 2
    empty = SpatialMisalignment()
    empty.update((-a, bump(0)), (a, bump(0)), torch.tensor([0]), a.isnan(), (10, 10))
    assert math.isnan(values(empty)["PAC"])


def test_the_highest_tenth() -> None:
    maps = torch.arange(100.0).view(1, 10, 10)
    assert torch.equal(highest(maps), maps >= 90)
    assert highest(torch.arange(25.0).view(1, 5, 5)).sum() == 3  # a tenth of 25, rounded up
    assert highest(torch.ones(1, 4, 4)).all()


def test_outside_is_what_is_left_of_the_box_and_its_margin() -> None:
    support = torch.zeros(1, 10, 10)
    support[0, 2:4, 5:8] = 1  # more than 5 % of the cells
    for margin in (0, 1, 3):
        inside = ~outside_box(support, (10, 10), margin)[0, 0]
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        assert (rows[0], rows[-1]) == (max(2 - margin, 0), 3 + margin)
        assert (columns[0], columns[-1]) == (5 - margin, min(7 + margin, 9))
        assert inside.sum() == len(rows) * len(columns)


def test_noise_stays_outside_and_has_its_deviation() -> None:
    x, outside = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    outside[:, :, :, 32:] = True
    change = noise_outside(x, outside, 0.05) - x
    assert not change[..., :32].any()
    assert change[..., 32:].std() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(noise_outside(x, outside), noise_outside(x, outside))


def test_the_attack_reaches_the_minimum_of_a_linear_activation() -> None:
    """Its worst case is -radius · sign(weight) wherever the image may change."""
    weight = torch.randn(1, 2, 4, 4)
    x, outside = torch.rand(3, 2, 4, 4), torch.rand(3, 1, 4, 4) < 0.5
    found = attack_outside(x, outside, lambda image: (image * weight).sum((1, 2, 3)), radius=0.1, step=0.02)
    torch.testing.assert_close(found, x - 0.1 * weight.sign() * outside)
    assert not found.requires_grad


def test_shapes_that_do_not_fit_are_refused() -> None:
    a, s = torch.ones(2, 3), torch.ones(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"unit \(B,\); got .* and \(3,\)"):
        SpatialMisalignment().update((a, s), (a, s), torch.zeros(3).long(), a > 0, (8, 8))
    with pytest.raises(ValueError, match="expected activations and others"):
        SpatialMisalignment().update((a, s), (a[:, :2], s), torch.zeros(2).long(), a > 0, (8, 8))
