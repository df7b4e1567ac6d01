"""Digits on a canvas: where they are, and that the label follows from both."""

import pytest
import torch

from zoo.data import CanvasDigits
from zoo.data.synthetic.canvas import LABELS, SIDE, Pasted, label_of, places


def test_pictures_are_pasted_where_the_corners_say() -> None:
    pictures = torch.randint(1, 255, (3, 1, 4, 5), dtype=torch.uint8)
    pasted = Pasted(pictures, torch.tensor([[2, 0], [1, 1]]), torch.tensor([[[0, 1], [6, 5]], [[3, 0], [5, 5]]]), 10)
    expected = torch.zeros(1, 10, 10, dtype=torch.uint8)
    expected[0, 0:4, 1:6], expected[0, 6:10, 5:10] = pictures[2, 0], pictures[0, 0]
    assert torch.equal(pasted[0], expected) and torch.equal(pasted[[1, 0]][1], expected)
    regions = pasted.regions([0])[0]
    assert regions[0, 0:4, 1:6].all() and regions[1, 6:10, 5:10].all() and regions.sum() == 40


def test_strokes_are_what_is_not_black() -> None:
    pictures = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    pictures[0, 0, 1], pictures[1, 0, :, 2] = 1, 200
    pasted = Pasted(pictures, torch.tensor([[1, 0]]), torch.tensor([[[0, 0], [4, 3]]]), 8, strokes=True)
    first, second = pasted.regions([0])[0]
    assert first.nonzero().tolist() == [[0, 2], [1, 2], [2, 2]]
    assert second.nonzero().tolist() == [[5, 3], [5, 4], [5, 5]]


def test_labels_by_hand() -> None:
    digits = torch.tensor([[3, 8], [8, 3], [0, 0], [9, 9], [2, 7]])
    found = {name: [names[i] for i in label_of(digits, name).tolist()] for name, names in LABELS.items()}
    assert found == {
        "max": ["8", "8", "0", "9", "7"],
        "sum": ["11", "11", "0", "18", "9"],
        "parity_of_sum": ["odd", "odd", "even", "even", "odd"],
        "pair": ["3 and 8", "3 and 8", "0 and 0", "9 and 9", "2 and 7"],
    }


@pytest.mark.parametrize("side", [56, 64, 90])
def test_digits_never_overlap(side: int) -> None:
    corners = places(2000, side, torch.Generator().manual_seed(0))
    assert corners.min() >= 0 and corners.max() <= side - SIDE
    assert ((corners[:, 0] - corners[:, 1]).abs() >= SIDE).any(1).all()


@pytest.mark.parametrize("label", ["max", "sum"])
def test_labels_are_made_of_both_digits(zoo_data, label: str) -> None:
    data = CanvasDigits(label=label, count=200, test_count=50)
    items = data.items("train", True)
    batch = items.__getitems__([3, 7])
    assert batch[1]["input"].shape == (1, 64, 64) and batch[1]["regions"].shape == (2, 64, 64)
    outside = batch[1]["regions"].sum(0) == 0
    assert batch[1]["input"][0][outside].unique().numel() == 1  # black
    single = items[7]
    assert torch.equal(single["input"], batch[1]["input"]) and torch.equal(single["regions"], batch[1]["regions"])
    drawn = CanvasDigits(label=label, count=200, test_count=50, regions="strokes").items("train", True)[7]
    inked = single["input"][0] > single["input"].min()
    assert torch.equal(drawn["regions"].amax(0).bool(), inked) and torch.equal(drawn["input"], single["input"])
    for i in range(20):
        a, b = map(int, items.name(i).split(": ")[1].split(", "))
        assert items[i]["target"] == (max(a, b) if label == "max" else a + b)
    assert len(data.items("val", False)) == 20
    again = CanvasDigits(label=label, count=200, test_count=50).items("train", True)
    assert torch.equal(again[5]["input"], items[5]["input"])
    train, val = items.sources.rows.unique(), data.items("val", False).sources.rows.unique()
    assert not torch.isin(train, val).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "product"}, "label must be one of max, sum, parity_of_sum, pair; got 'product'"),
        ({"regions": "masks"}, "regions must be one of boxes, strokes; got 'masks'"),
        ({"side": 55}, "side must be at least 56; got 55"),
    ],
)
def test_canvases_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CanvasDigits(**options)
