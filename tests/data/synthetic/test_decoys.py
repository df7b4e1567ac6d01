"""Decoys: how well shape and decoy tell the label, read back from the pictures."""

import pytest
import torch
from torch import Tensor

from zoo.data import DecoyDigits
from zoo.data.synthetic.decoys import Coloured, Patched


def best(facts: Tensor, targets: Tensor) -> float:
    """The accuracy of the best rule that sees these facts (N,) alone, by counting."""
    counts = torch.zeros(int(facts.max()) + 1, int(targets.max()) + 1)
    counts.index_put_((facts, targets), torch.ones(len(facts)), accumulate=True)
    return float(counts.amax(1).sum() / len(facts))


def shown(data: DecoyDigits, split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Digits by the items' names, pixels (N, C, H, W) and targets of a split."""
    items = data.items(split, False)
    digits = torch.tensor([int(name.split(": ")[1]) for name in items.names])
    pixels = data.make_domain().picture(data.interventions(split, range(len(items)), ()))
    return digits, pixels, items.targets


def test_colour() -> None:
    data = DecoyDigits("colour", count=8000, test_count=6000)
    for split, believed in (("train", 0.85), ("test", 0.1)):
        digits, pixels, targets = shown(data, split)
        light = pixels.float().sum((2, 3))
        assert (light[:, 2] == 0).all() and (light[:, :2].amin(1) == 0).all()  # red or green, not both
        colours = light[:, :2].argmax(1)
        assert float((colours == targets).float().mean()) == pytest.approx(believed, abs=0.015)
        assert data.decoy_accuracy[split] == pytest.approx(believed)
        assert best(digits, targets) == pytest.approx(data.ceiling, abs=0.02) and data.ceiling == 0.75
        assert float(((digits >= 5) == targets).float().mean()) == pytest.approx(0.75, abs=0.02)
        # The larger of the two, as Bayes' rule says: 0.85 (0.9) outweighs 0.75.
        assert best(colours * 2 + (digits >= 5), targets) == pytest.approx(max(believed, 1 - believed), abs=0.015)


def test_corner() -> None:
    data = DecoyDigits("corner", count=4000, test_count=4000)
    for split, believed in (("train", 1.0), ("val", 1.0), ("test", 0.1)):
        digits, pixels, targets = shown(data, split)
        assert torch.equal(digits, targets) and data.ceiling == 1
        patch = torch.stack([item["regions"][1] for item in data.items(split, False).__getitems__(range(len(digits)))])
        assert (patch.sum((1, 2)) == 16).all()
        where = patch[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (where.sum(1) == 1).all() and (split == "val" or (where.mean(0) - 0.25).abs().max() < 0.03)
        level = (pixels[:, 0] * patch).amax((1, 2))
        assert torch.equal(level, (pixels[:, 0] + 255 * (1 - patch)).amin((1, 2)))  # of one grey
        found = (255 - level) / 25
        assert float((found == targets).float().mean()) == pytest.approx(believed, abs=0.02)
        assert data.decoy_accuracy[split] == believed and found.unique().tolist() == list(range(10))


def test_a_colour_by_hand() -> None:
    digit = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    digit[:, 0, 5, 6], digit[:, 0, 5, 7] = 255, 51
    coloured = Coloured(digit, torch.tensor([0, 1]))
    assert coloured[[0, 1]][:, :, 5, 6].tolist() == [[255, 0, 0], [0, 255, 0]]
    assert coloured[1][:, 5, 7].tolist() == [0, 51, 0] and coloured[1].sum() == 255 + 51
    assert coloured.render([0], ["decoy"])[0, :, 5, 6].tolist() == [85, 85, 85]
    disc = coloured.render([0, 1], ["digit"])
    assert torch.equal(disc[0, 0], disc[1, 1]) and disc[0, 1:].sum() == 0
    assert float(disc[0, 0].sum()) / 255 == pytest.approx(3.14159 * 64, rel=0.01)
    assert coloured.regions([1])[0].nonzero().tolist() == [[0, 5, 6], [0, 5, 7], [1, 5, 6], [1, 5, 7]]


def test_a_patch_by_hand() -> None:
    digits = torch.full((2, 1, 8, 9), 200, dtype=torch.uint8)
    patched = Patched(digits, torch.tensor([30, 80]), torch.tensor([[0, 5], [4, 0]]))
    assert (patched[0][0, :4, 5:] == 30).all() and (patched[1][0, 4:, :4] == 80).all()
    assert (patched[0] == 30).sum() == 16 and (patched[0] == 200).sum() == 72 - 16
    assert patched.regions([1]).sum((2, 3)).tolist() == [[56, 16]]
    assert (patched.render([0], ["decoy"]) == 200).all() and patched.render([0], ["digit"]).sum() == 16 * 30


def test_decoys_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of colour, corner; got 'color'\. Did you mean 'colour'"):
        DecoyDigits("color")
