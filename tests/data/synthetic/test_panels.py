"""A digit beside a garment: where it is, and that nothing else says the label."""

import pytest
import torch
from torch import Tensor

from zoo.data import SwitchingPanels
from zoo.data.synthetic.panels import Panels


def test_panels_stand_side_by_side() -> None:
    digits = torch.tensor([[[[1, 0]]], [[[0, 2]]]], dtype=torch.uint8)
    garments = torch.tensor([[[[7, 8]]], [[[9, 7]]]], dtype=torch.uint8)
    panels = Panels(digits, garments, torch.tensor([False, True]), strokes=True)
    assert panels[[1, 0]].flatten(1).tolist() == [[9, 7, 0, 2], [1, 0, 7, 8]]
    assert panels[1].shape == (1, 1, 4)
    assert panels.render([0, 1], ["digit"]).flatten(1).tolist() == [[0, 0, 7, 8], [9, 7, 0, 0]]
    assert panels.render([0, 1], ["distractor"]).flatten(1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 2]]
    assert panels.regions([0, 1]).flatten(1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    boxes = Panels(digits, garments, torch.tensor([False, True]), strokes=False)
    assert boxes.regions([0, 1]).flatten(1).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_the_side_and_the_garment_say_nothing() -> None:
    data = SwitchingPanels(count=4000, test_count=10)
    items = data.items("train", False)
    swapped = items.sources.swapped.float()
    assert float(swapped.mean()) == pytest.approx(0.5, abs=0.03)
    shares = torch.stack([swapped[items.targets == digit].mean() for digit in range(10)])
    assert (shares - 0.5).abs().max() < 0.1
    names = [name.split(": ")[1].split(" and ") for name in items.names]
    assert [int(digit) for digit, _ in names] == items.targets.tolist()
    shirts = torch.tensor([garment == "t-shirt" for _, garment in names]).float()
    assert (torch.stack([shirts[items.targets == digit].mean() for digit in range(10)]) - 0.1).abs().max() < 0.06


def test_the_digit_tells_the_label_and_the_distractor_does_not() -> None:
    data = SwitchingPanels(count=4000, test_count=400)
    assert data.ceiling == 1

    def accuracy(remove: str) -> float:
        train = seen(data, "train", remove)
        found = torch.cdist(seen(data, "test", remove), train).argmin(1)
        truth = data.items("test", False).targets
        return float((data.items("train", False).targets[found] == truth).float().mean())

    assert accuracy("distractor") > 0.93 and accuracy("digit") < 0.2


def seen(data: SwitchingPanels, split: str, remove: str) -> Tensor:
    return data.interventions(split, range(data.counts[split]), (remove,)).flatten(1)


def test_regions_that_do_not_exist() -> None:
    with pytest.raises(
        ValueError, match=r"regions must be one of boxes, strokes; got 'stroke'\. Did you mean 'strokes'"
    ):
        SwitchingPanels("stroke")
