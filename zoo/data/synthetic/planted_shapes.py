"""Shapes planted in noise: spikes, ramps and windows of low variance.

Queen et al.: "Encoding Time-Series Explanations through Self-Supervised Model Behavior Consistency", NeurIPS 2023,
arXiv 2306.02109, section 5 and appendix C.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

WARM_UP = 24  # steps before the first: the initial state decays to 0.3^24, below float precision
DIRECTIONS = ((0, 0), (-1, -1), (1, 1), (1, -1))  # of the ramps of each class
Planted = tuple[Tensor, Tensor, Tensor]  # base (N, T, V), planted values (N, T, V), regions (N, R, T, V)


@dataclass(frozen=True)
class Kind:
    """One of the four data sets.

    Attributes:
        plant: generates series from classes (N,), number of steps, number of sensors, and a generator.
        length, sensors: number of steps T and of sensors V.
        factors, classes: their names.
    """

    plant: Callable[[Tensor, int, int, torch.Generator], Planted]
    length: int
    sensors: int
    factors: tuple[str, ...]
    classes: tuple[str, ...]


def narma(count: int, length: int, sensors: int, noise: float, generator: torch.Generator) -> Tensor:
    """(count, length, sensors) of x_t = 0.3 x_(t-1) + 1.5 u_t u_(t-2) + 0.1, u ~ U(0, 0.5), plus N(0, noise²)."""
    u = torch.rand(length + WARM_UP + 2, count, sensors, generator=generator) / 2
    base = 1.5 * u[2:] * u[:-2] + 0.1
    for t in range(1, len(base)):
        base[t] += 0.3 * base[t - 1]
    return base[WARM_UP:].transpose(0, 1) + noise * torch.randn(count, length, sensors, generator=generator)


def spikes(labels: Tensor, length: int, sensors: int, generator: torch.Generator) -> Planted:
    """Spikes of 3 steps, down or up, every 10 or 17 steps; those that do not fit are left out."""
    base = 0.25 * torch.randn(len(labels), length, sensors, generator=generator)
    up, period = labels % 2, torch.where(labels < 2, 10, 17)[:, None]
    since = torch.arange(length) - between(torch.zeros_like(period), length - period, generator)
    centres = (since >= 0) & (since % period == 0)
    centres[:, [0, -1]] = False
    heights = F.conv1d(centres.float()[:, None], torch.tensor([[[1.75, 2, 1.75]]]), padding=1)[:, 0, :, None]
    shapes = heights * (2 * up - 1)[:, None, None]
    return base, base + shapes, (heights > 0).float()[:, None]


def ramps(
    labels: Tensor, length: int, sensors: int, generator: torch.Generator, lengths: tuple[int, int], rate: float
) -> Planted:
    """Two ramps with a superimposed wave, one after the other, on different sensors if there are several.

    Args:
        labels: (N,) classes.
        length: number of steps T.
        sensors: number of sensors V.
        generator: of all randomness.
        lengths: shortest and longest ramp, in steps.
        rate: of the Poisson distribution of the wave's frequency A.
    """
    count = len(labels)
    base = narma(count, length, sensors, 0.01, generator)
    steps = torch.randint(lengths[0], lengths[1] + 1, (count, 2), generator=generator)
    first = torch.randint(length // 2, (count,), generator=generator)
    second = between(first + steps[:, 0], length - steps[:, 1], generator)
    frequency = torch.poisson(torch.full((count, 2, 1), float(rate)), generator=generator)
    order = torch.rand(count, sensors, generator=generator).argsort(1)
    sensor = F.one_hot(order[:, [0, min(1, sensors - 1)]], sensors)  # (N, 2, V)
    direction = torch.tensor(DIRECTIONS)[labels]
    since = torch.arange(length) - torch.stack([first, second], 1)[..., None]  # (N, 2, T)
    inside = (since >= 0) & (since < steps[..., None]) & (direction != 0)[..., None]
    j = since - steps[..., None] // 2
    swing = 5 * (base.amin((1, 2)).abs() + base.amax((1, 2)).abs())
    slope = direction * swing[:, None] / steps
    values = slope[..., None] * j + (frequency * j).sin()
    regions = (inside[..., None] * sensor[:, :, None]).float()  # (N, 2, T, V)
    return base, (regions * values[..., None]).sum(1), regions


def short_ramps(labels: Tensor, length: int, sensors: int, generator: torch.Generator) -> Planted:
    """The ramps of SeqComb-UV."""
    return ramps(labels, length, sensors, generator, (10, 19), 10)


def long_ramps(labels: Tensor, length: int, sensors: int, generator: torch.Generator) -> Planted:
    """The ramps of SeqComb-MV."""
    return ramps(labels, length, sensors, generator, (15, 29), 5)


def calm(labels: Tensor, length: int, sensors: int, generator: torch.Generator) -> Planted:
    """A window of low variance, around a low or high level, on one of two sensors."""
    count = len(labels)
    base = narma(count, length, sensors, 1.0, generator)
    steps = torch.randint(10, 20, (count, 1), generator=generator)
    since = torch.arange(length) - torch.randint(20, length - 40, (count, 1), generator=generator)
    inside = (since >= 0) & (since < steps)
    region = inside[..., None] * F.one_hot(labels // 2, sensors)[:, None]
    level = torch.where(labels % 2 == 0, -1.5, 1.5)[:, None, None]
    window = level + 0.1 * torch.randn(base.shape, generator=generator)
    return base, window, region.float()[:, None]


def between(low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform integers from `low` (inclusive) to `high` (exclusive), which have the same shape."""
    share = torch.rand(low.shape, generator=generator, dtype=torch.float64)
    return low + (share * (high - low)).long()


RAMPS = ("first ramp", "second ramp")
PAIRS = ("none", "down, down", "up, up", "up, down")
KINDS = {
    "freq_shapes": Kind(
        spikes, 50, 1, ("spikes",), ("down, every 10", "up, every 10", "down, every 17", "up, every 17")
    ),
    "seqcomb_uv": Kind(short_ramps, 200, 1, RAMPS, PAIRS),
    "seqcomb_mv": Kind(long_ramps, 200, 4, RAMPS, PAIRS),
    "lowvar": Kind(calm, 200, 2, ("window",), ("first low", "first high", "second low", "second high")),
}
