"""Digits made of strokes: how they are drawn, and that they can be read."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.data import StrokeDigits
from zoo.data.synthetic.stroke_drawing import distance, draw_digits

INSIDE = st.floats(0, 11, width=32)


def digits(count: int, seed: int, side: int = 28) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=draw)
    return draw_digits(labels, draw, side), labels


def nearest(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """The label of the nearest picture."""
    return labels[torch.cdist(test.float().flatten(1), train.float().flatten(1)).argmin(1)]


@given(st.lists(st.tuples(INSIDE, INSIDE, INSIDE, INSIDE), min_size=1, max_size=3))
def test_distances_to_segments(segments: list[tuple[float, float, float, float]]) -> None:
    found = distance(torch.tensor([segments], dtype=torch.float64), 12)[0]
    for x, y in ((0, 0), (5, 2), (3, 11)):
        away = math.inf
        for ax, ay, bx, by in segments:
            # Beyond an end if the angle there is obtuse; else the height of the triangle.
            a, b, length = math.dist((x, y), (ax, ay)), math.dist((x, y), (bx, by)), math.dist((ax, ay), (bx, by))
            if length < 1e-4 or a * a >= b * b + length * length or b * b >= a * a + length * length:
                away = min(away, a, b)
            else:
                away = min(away, abs((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length)
        assert float(found[y, x]) == pytest.approx(away, abs=1e-3)


def test_digits_can_be_read() -> None:
    train, labels = digits(8000, 0)
    test, truth = digits(500, 1)
    assert float((nearest(train, labels, test) == truth).float().mean()) > 0.95


def test_digits_are_white_on_black_and_leave_a_margin() -> None:
    pictures, _ = digits(2000, 0)
    assert pictures.shape == (2000, 1, 28, 28) and pictures.dtype == torch.uint8
    assert (pictures.flatten(1).amax(1) > 180).all()
    inked = (pictures > 0).float()
    assert 0.1 < float(inked.mean()) < 0.35 and float(inked[:, :, :4, :4].mean()) < 0.01


def test_digits_follow_from_the_generator_and_from_their_label() -> None:
    assert torch.equal(digits(50, 3)[0], digits(50, 3)[0]) and not torch.equal(digits(50, 3)[0], digits(50, 4)[0])
    labels, draw = torch.arange(10), torch.Generator()
    first = draw_digits(labels, draw.manual_seed(0))
    second = draw_digits(labels.flip(0), draw.manual_seed(0))
    assert not torch.equal(first[0], second[0]) and len({tuple(p.flatten().tolist()) for p in first}) == 10


def test_another_side_shows_the_same_digits() -> None:
    small, large = digits(200, 0)[0].float(), digits(200, 0, 56)[0].float()
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    assert float((small - pooled).abs().mean()) < 4 < 20 < float((small - pooled.roll(1, 0)).abs().mean())


def test_labels_are_balanced_and_named() -> None:
    data = StrokeDigits(count=5000, test_count=10)
    items = data.items("train", False)
    shares = items.targets.bincount(minlength=10) / 5000
    assert (shares - 0.1).abs().max() < 0.015 and data.ceiling == 1
    assert items.name(7) == f"train digit 7: {items[7]['target']}"


@pytest.mark.parametrize("labels", [torch.tensor([3, 10]), torch.tensor([-1, 4]), torch.tensor([[1]]), torch.zeros(0)])
def test_labels_that_are_no_digits(labels: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"labels must be \(N,\) digits of 0 to 9; got shape .* with values \[[-\d, ]*\]"
    ):
        draw_digits(labels, torch.Generator())


def test_sides_too_small_to_read() -> None:
    with pytest.raises(ValueError, match="legible from a side of 8 pixels on; got 7"):
        draw_digits(torch.tensor([1]), torch.Generator(), 7)
