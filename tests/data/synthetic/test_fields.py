"""Density fields: their statistics are what the targets say."""

import pytest
import torch

from zoo.data import DensityFields
from zoo.data.synthetic.fields import AMPLITUDE, SLOPE, density


def test_amplitude_and_slope_can_be_read_off_the_maps() -> None:
    targets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).repeat_interleave(50, 0)
    field = (density(targets, 64, torch.Generator().manual_seed(0)) + 1).log()
    found = field.std((1, 2)).view(4, 50).mean(1)
    expected = torch.tensor([AMPLITUDE[0], AMPLITUDE[1], AMPLITUDE[0], AMPLITUDE[1]])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    power = torch.fft.fft2(field - field.mean((1, 2), keepdim=True)).abs().square()[:, 0, 1:20].view(4, 50, -1).mean(1)
    k = torch.arange(1, 20).float().log()
    fit = [float(((k - k.mean()) * (p.log() - p.log().mean())).sum() / (k - k.mean()).square().sum()) for p in power]
    assert fit == pytest.approx([-SLOPE[0], -SLOPE[0], -SLOPE[1], -SLOPE[1]], abs=0.3)


def test_maps_are_images_with_two_targets() -> None:
    data = DensityFields(count=40, test_count=10, side=16)
    domain, items = data.make_domain(), data.items("train", True)
    assert domain.task == "regression" and domain.classes == ("amplitude", "slope")
    assert items.inputs.shape == (40, 1, 16, 16) and items.targets.shape == (40, 2)
    assert items.targets.min() >= 0 and items.targets.max() <= 1
    again = DensityFields(count=40, test_count=10, side=16).items("train", True)
    assert torch.equal(items.inputs, again.inputs) and not torch.equal(
        items.inputs[:10], data.items("test", False).inputs
    )
    assert len(data.train_dataset()) == 36 and len(data.val_dataset()) == 4


def test_maps_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="side must be at least 4; got 3"):
        DensityFields(side=3)
