"""Series of noise in which shapes are planted, so that it is known which steps of which sensor tell the class.

Queen et al.: "Encoding Time-Series Explanations through Self-Supervised Model Behavior Consistency", NeurIPS 2023,
arXiv 2306.02109, section 5 and appendix C.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.synthetic.benchmark import ArrayWorld, Evident, balanced, named
from zoo.domain import SeriesDomain

WARM_UP = 24  # steps of the base before the first: of where it began 0.3^24 is left, below any precision
DIRECTIONS = ((0, 0), (-1, -1), (1, 1), (1, -1))  # of the ramps of each class
Planted = tuple[Tensor, Tensor, Tensor]  # base (N, T, V), what takes its place (N, T, V), regions (N, R, T, V)


@dataclass(frozen=True)
class Kind:
    """One of the four sets.

    Attributes:
        plant: series of given classes (N,), of so many steps and sensors.
        length, sensors: T and V.
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
    """Spikes down or up, every 10 or 17 steps, of 3 steps each; those that do not fit are left out."""
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
    """Two ramps with a wave on them, one after the other, on different sensors where there are several.

    Args:
        labels, length, sensors, generator: see `Kind`.
        lengths: the shortest and the longest ramp.
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
    """A window of little variance, low or high, on one of two sensors."""
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
    """Whole numbers, equally likely from low to below high, which have one shape."""
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


class PlantedSeries(ArrayWorld):
    """FreqShapes, SeqComb-UV, SeqComb-MV and LowVar: four classes each, told by shapes planted in noise.

        name          steps   sensors   the class is
        freq_shapes   50      1         spikes of 3 steps, down or up, every 10 or every 17 steps, on N(0, 0.25²)
        seqcomb_uv    200     1         no ramp, or two ramps: down and down, up and up, up and then down
        seqcomb_mv    200     4         likewise, longer ramps, on two of the sensors
        lowvar        200     2         a window of 10 to 19 steps of N(±1.5, 0.1²), on the first or the second sensor

    A spike is ±(1.75, 2, 1.75), added to the noise. The first is around a step drawn from those before the last period;
    those that do not fit into the series are left out. A ramp of L steps (10 to 19, or 15 to 29) is slope j + sin(A j),
    j from -L/2 on, A ~ Poisson (of rate 10, or 5), the slope ±5 (|min| + |max|) / L of the base. A ramp or a window
    stands in the place of the base, which is x_t = 0.3 x_(t-1) + 1.5 u_t u_(t-2) + 0.1, u ~ U(0, 0.5), plus Gaussian
    noise of deviation 0.01, in "lowvar" of 1. The library behind the published series calls this process NARMA, but its
    non-linear term sums over nothing.

    Regions are the steps of the spikes ("spikes"), of each ramp ("first ramp" and "second ramp", empty in the class
    "none"), of the window ("window"). An intervention gives the noise or base that was there before anything was
    planted. Inputs are not normalised, as published.

    The ceiling is 1 up to noise. In "freq_shapes" the best rule errs in less than one of a billion series: a union
    bound over all pairs of spike trains of different classes. In "lowvar" it errs in less than one of ten thousand: a
    rule that looks for ten steps in a row near a level is right so often. In SeqComb no bound is derived. A detector
    that fits a ramp of every length and frequency at every step, and knows no slope, was right in 7,996 of 8,000 series
    of "seqcomb_uv" and in all of 8,000 of "seqcomb_mv"; so the ceiling is above .999.

    Args:
        name: see above.
        count: series to train on.
        val_count: series to validate on.
        test_count: series to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the series and the shuffles.
    """

    def __init__(
        self,
        name: str = "freq_shapes",
        count: int = 5000,
        val_count: int = 100,
        test_count: int = 1000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        self.name, self.kind = name, KINDS[named("planted series", name, KINDS)]
        if min(count, val_count, test_count) < 1:
            raise ValueError(f"every split needs series; got {count}, {val_count} and {test_count}.")
        self.factors, self.counts = self.kind.factors, {"train": count, "val": val_count, "test": test_count}

    @property
    def ceiling(self) -> float:
        return 1.0

    def make_domain(self) -> SeriesDomain:
        sensors = tuple(f"sensor {v + 1}" for v in range(self.kind.sensors))
        return SeriesDomain(classes=self.kind.classes, variables=sensors, length=self.kind.length)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        labels = balanced(count, len(self.kind.classes), generator)
        base, planted, regions = self.kind.plant(labels, self.kind.length, self.kind.sensors, generator)
        x = torch.where(regions.any(1), planted, base)
        return Evident(x, labels, [f"{self.name} {split} {i}" for i in range(count)], regions, base)
