"""Noise of known kinds, and drawn phantoms without any."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.checks import check_above, check_choice

KINDS = ("gaussian", "poisson", "correlated")
ELLIPSES = 12  # of a phantom
LEVELS = (0.15, 0.85)  # of its values, away from 0 and 1, where noise is cut off


def add_noise(picture: Tensor, kind: str, level: float, generator: torch.Generator) -> Tensor:
    """A picture with noise, not cut off.

        gaussian    y = x + level · n                      n independent and of unit variance
        poisson     y = Poisson(x / level²) · level²       its standard deviation is level · √x
        correlated  y = x + level · (n * [1 2 1]² )        the same variance, correlated up to two pixels away

    Args:
        picture: (C, H, W) in [0, 1].
        kind: see above.
        level: standard deviation, of "poisson" that at a value of 1.
        generator: of all draws.

    Raises:
        ValueError: an unknown kind, or a level that is not above 0.
    """
    check_choice(KINDS, kind=kind)
    check_above(0, level=level)
    if kind == "poisson":
        return torch.poisson(picture.clamp_min(0) / level**2, generator=generator) * level**2
    noise = torch.randn(picture.shape, generator=generator)
    if kind == "correlated":
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = line[:, None] * line
        kernel = kernel / kernel.square().sum().sqrt()
        noise = F.conv2d(F.pad(noise[:, None], (1,) * 4, mode="circular"), kernel[None, None])[:, 0]
    return picture + level * noise


def phantom(side: int, channels: int, generator: torch.Generator) -> Tensor:
    """(C, side, side): ellipses of constant values on top of each other, and a gradient in every other one."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = line[:, None], line[None]
    picture = torch.full((channels, side, side), LEVELS[0])
    for i in range(ELLIPSES):
        drawn = torch.rand(5 + channels, generator=generator)
        right, below, wide, high, turn = drawn[:5].tolist()
        turn, right, below = math.pi * turn, 1.6 * right - 0.8, 1.6 * below - 0.8
        along = (x - right) * math.cos(turn) + (y - below) * math.sin(turn)
        across = (y - below) * math.cos(turn) - (x - right) * math.sin(turn)
        inside = (along / (0.1 + 0.4 * wide)).square() + (across / (0.1 + 0.4 * high)).square() < 1
        value = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * drawn[5:].view(-1, 1, 1)
        shade = 0.1 * along if i % 2 else torch.zeros_like(along)
        picture = torch.where(inside, (value + shade).clamp(*LEVELS), picture)
    return picture
