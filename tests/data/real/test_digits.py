"""scikit-learn's digits."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from zoo.data import Digits
from zoo.data.base.images import Pictures
from zoo.data.real.digits import NAMES
from zoo.domain import Domain


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits()


def rows(part: Pictures) -> list[int]:
    return [int(part.name(i).removeprefix("digit ")) for i in range(len(part))]


def test_parts_are_disjoint_complete_and_stratified(data: Digits) -> None:
    truth = load_digits().target
    parts = [rows(part) for part in (data.train_dataset(), data.val_dataset(), data.test_dataset())]
    assert sorted(chain(*parts)) == list(range(1797))
    train, val, test = ([sum(truth[i] == c for i in part) for c in range(10)] for part in parts)
    for c in range(10):
        count = int((truth == c).sum())
        assert test[c] == round(0.2 * count) and val[c] == round(0.1 * (count - test[c]))
        assert train[c] == count - test[c] - val[c]


def test_items_belong_to_their_names(data: Digits) -> None:
    digits = load_digits()
    test = data.test_dataset()
    for i, row in list(enumerate(rows(test)))[::50]:
        assert test[i]["target"] == digits.target[row]
        expected = torch.from_numpy(digits.images[row]).mul(255 / 16).round().to(torch.uint8)
        assert torch.equal(test.domain.picture(test[i]["input"])[0], expected)


def test_splits_follow_from_the_seed(data: Digits) -> None:
    again, other = Digits(), Digits(seed=1)
    for part in ("train_dataset", "val_dataset", "test_dataset"):
        assert rows(getattr(data, part)()) == rows(getattr(again, part)())
        assert rows(getattr(data, part)()) != rows(getattr(other, part)())


def test_domain_describes_the_pixels(data: Digits) -> None:
    domain = Domain.from_dict(data.domain)
    assert domain.classes == NAMES and domain.shape == (1, 8, 8)
    train = data.train_dataset()
    inputs = torch.stack([train[i]["input"] for i in range(0, len(train), 2)])
    assert abs(float(inputs.mean())) < 0.05 and abs(float(inputs.std()) - 1) < 0.05


def test_a_digit_read_from_a_png_is_the_same_input(data: Digits, tmp_path: Path) -> None:
    test = data.test_dataset()
    for i in (0, 7, 358):
        Image.fromarray(test.picture(i)[0].numpy()).save(tmp_path / f"{i}.png")
        assert torch.equal(test.domain.read(tmp_path / f"{i}.png"), test[i]["input"])
