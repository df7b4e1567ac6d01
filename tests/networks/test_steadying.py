"""Averages around the network of a backbone: by hand, and what they do to noise."""

from math import exp

import pytest
import torch
from torch import Tensor, nn

from zoo.networks.image_backbones import Backbone, Pooled, create_backbone
from zoo.networks.steadying import Steadied, Steady
from zoo.networks.timm_blocks import timm_network

NETWORK = {"name": "mobilenetv2_035"}


class Shift(nn.Module):
    """Every pixel shows its left neighbour."""

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, 3)


def test_blur_by_hand() -> None:
    x = torch.zeros(1, 2, 9, 9)
    x[0, 0, 4, 4], x[0, 1] = 1, 3
    found = Steadied(Steady(blur=1.0)).before(x)
    weights = [exp(-(i**2) / 2) for i in (-3, -2, -1, 0, 1, 2, 3)]
    line = torch.tensor([0, *weights, 0]) / sum(weights)
    torch.testing.assert_close(found[0, 0], torch.outer(line, line))
    torch.testing.assert_close(found[0, 1], x[0, 1])  # also at the border
    with torch.autocast("cpu", torch.bfloat16):
        assert Steadied(Steady(blur=1.0)).before(x).equal(found)
    assert Steadied(Steady()).before(x) is x


def test_mean_with_the_mirror_image() -> None:
    x = torch.rand(2, 1, 3, 5)
    maps = Backbone(Shift(), 1, 1, steady=Steady(mirror=True))(x)
    torch.testing.assert_close(maps, (x.roll(1, 3) + x.roll(-1, 3)) / 2)
    assert Backbone(Shift(), 1, 1)(x).equal(x.roll(1, 3))


def test_blurred_map_by_hand() -> None:
    x = torch.zeros(1, 2, 7, 7)
    x[0, 0, 3, 3], x[0, 1] = 1, 3
    found = Backbone(Shift(), 1, 2, steady=Steady(blur_map=0.6))(x)
    weights = [exp(-((i / 0.6) ** 2) / 2) for i in (-2, -1, 0, 1, 2)]
    line = torch.tensor([0, *weights, 0]) / sum(weights)
    torch.testing.assert_close(found[0, 0], torch.outer(line, line.roll(1)))
    torch.testing.assert_close(found[0, 1], x[0, 1])
    both = Backbone(Shift(), 1, 2, steady=Steady(blur_map=0.6, mirror=True))(x)
    torch.testing.assert_close(both[0, 0], torch.outer(line, (line.roll(1) + line.roll(-1)) / 2))


def test_options_of_a_backbone() -> None:
    torch.manual_seed(0)
    plain = create_backbone(NETWORK, 3).eval()
    steady = create_backbone({**NETWORK, "steady": {"blur": 1.0, "mirror": True}}, 3).eval()
    assert steady.state_dict().keys() == plain.state_dict().keys()  # nothing is stored
    steady.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64).cumsum(3) / 32
    noisy = x + 0.1 * torch.randn(x.shape)
    with torch.no_grad():
        torch.testing.assert_close(steady(x.flip(3)), steady(x).flip(3))
        moved = [float((f(noisy) - f(x)).square().mean() / f(x).var()) for f in (plain, steady)]
    assert moved[1] < 0.5 * moved[0]
    for backbone, inner in ((plain, True), (steady, False)):  # what takes a network apart does not leave out the rest
        assert (timm_network(Pooled(backbone)) is backbone.network) == inner


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="steady has no option 'blurr'; did you mean 'blur'"):
        create_backbone({**NETWORK, "steady": {"blurr": 1}}, 3)
    with pytest.raises(ValueError, match="steady must be a mapping of options; got True"):
        create_backbone({**NETWORK, "steady": True}, 3)
    with pytest.raises(ValueError, match="blur"):
        Steady(blur=-1)
    with pytest.raises(ValueError, match="blur_map"):
        Steady(blur_map=9)
