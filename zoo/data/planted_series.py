"""Series of noise in which shapes are planted that decide the class.

Queen et al.: "Encoding Time-Series Explanations through Self-Supervised Model Behavior Consistency" (TimeX), NeurIPS
2023, arXiv 2306.02109, appendix C.1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.data.worlds import Sample, World
from zoo.domain import SeriesDomain
from zoo.hints import hint

CLASSES = {
    "freq_shapes": ("down, every 10", "up, every 10", "down, every 17", "up, every 17"),
    "seqcomb_uv": ("nothing", "down, down", "up, up", "up, down"),
    "seqcomb_mv": ("nothing", "down, down", "up, up", "up, down"),
    "lowvar": ("first is low", "first is high", "second is low", "second is high"),
}
SHAPE = {"freq_shapes": (50, 1), "seqcomb_uv": (200, 1), "seqcomb_mv": (200, 4), "lowvar": (200, 2)}


def narma(count: int, steps: int, draw: torch.Generator) -> Tensor:
    """(count, steps) of x_t = 0.3 x_{t-1} + 1.5 u_t u_{t-2} + 0.1 with u ~ U[0, 0.5].

    A NARMA(2) process has another term, 0.05 x_{t-1} (x_{t-1} + x_{t-2}), which sums nothing in the published code.
    """
    lead = 50
    u = 0.5 * torch.rand(count, steps + lead + 2, generator=draw)
    x = torch.zeros(count, steps + lead)
    for t in range(1, steps + lead):
        x[:, t] = 0.3 * x[:, t - 1] + 1.5 * u[:, t + 2] * u[:, t] + 0.1
    return x[:, lead:]


def freq_shapes(label: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of three steps, up or down, every 10 or 17 steps from anywhere, in white noise."""
    steps = SHAPE["freq_shapes"][0]
    noise = 0.25 * torch.randn(len(label), steps, generator=draw)
    period, up = torch.where(label < 2, 10, 17), label % 2 == 1
    first = (torch.rand(len(label), generator=draw) * (steps - period)).long()
    offset = torch.arange(steps) - first[:, None]
    near = (offset + 1) % period[:, None] - 1  # -1, 0 and 1 around a centre
    inside = (near.abs() <= 1) & (offset >= -1)
    spike = (2 - 0.25 * near.square()) * torch.where(up, 1, -1)[:, None]
    planted = torch.where(inside, spike, noise)
    return planted[..., None], inside[..., None], noise[..., None]


def seqcomb(label: Tensor, draw: torch.Generator, variables: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two ramps with waves, up or down, one after the other (one variable) or on two variables (four)."""
    count, steps = len(label), SHAPE["seqcomb_uv"][0]
    noise = torch.stack([narma(count, steps, draw) for _ in range(variables)], 2)
    noise += 0.01 * torch.randn(noise.shape, generator=draw)
    low, high, rate = (10, 20, 10.0) if variables == 1 else (15, 30, 5.0)
    x, inside, time = noise.clone(), torch.zeros_like(noise, dtype=torch.bool), torch.arange(steps)
    order = torch.rand(count, variables, generator=draw).argsort(1)
    end = torch.zeros(count, dtype=torch.long)
    for i, up in enumerate(((label == 2) | (label == 3), label == 2)):
        length = torch.randint(low, high, (count,), generator=draw)
        where = torch.rand(count, generator=draw)
        if variables == 1:  # the first in the first half, the second after it
            start = (where * (steps // 2 - length)).long() if i == 0 else end + (where * (steps - end - length)).long()
        else:
            start = (where * (steps - length)).long()
        end = start + length
        row = noise[torch.arange(count), :, order[:, i % variables]]
        slope = 5 * (row.amin(1).abs() + row.amax(1).abs()) / length * torch.where(up, 1, -1)
        waves = torch.poisson(torch.full((count,), rate), generator=draw)
        centre = (time - start[:, None] - length[:, None] / 2).float()
        ramp = slope[:, None] * centre + (waves[:, None] * centre).sin()
        here = (time >= start[:, None]) & (time < end[:, None]) & (label > 0)[:, None]
        on = here[..., None] & (torch.arange(variables) == order[:, i % variables, None])[:, None]
        x, inside = torch.where(on, ramp[..., None].expand_as(x), x), inside | on
    return x, inside, noise


def lowvar(label: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A stretch of 10 to 19 steps of one variable varies little, around -1.5 or 1.5."""
    steps, variables = SHAPE["lowvar"]
    noise = torch.stack([narma(len(label), steps, draw) for _ in range(variables)], 2)
    noise += torch.randn(noise.shape, generator=draw)
    length = torch.randint(10, 20, (len(label),), generator=draw)
    start = torch.randint(20, steps - 40, (len(label),), generator=draw)
    level = torch.where(label % 2 == 0, -1.5, 1.5)[:, None] + 0.1 * torch.randn(len(label), steps, generator=draw)
    time = torch.arange(steps)
    here = (time >= start[:, None]) & (time < (start + length)[:, None])
    inside = here[..., None] & (torch.arange(variables) == (label >= 2).long()[:, None])[:, None]
    return torch.where(inside, level[..., None], noise), inside, noise


DRAWS: dict[str, Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]] = {
    "freq_shapes": freq_shapes,
    "seqcomb_uv": lambda label, draw: seqcomb(label, draw, 1),
    "seqcomb_mv": lambda label, draw: seqcomb(label, draw, 4),
    "lowvar": lowvar,
}


class PlantedSeries(World):
    """Noise with planted shapes, the factor "shapes"; without them the noise is left as it was.

        freq_shapes   T = 50, V = 1: spikes up or down, every 10 or every 17 steps
        seqcomb_uv    T = 200, V = 1: two ramps with waves: none; down, down; up, up; up, down
        seqcomb_mv    T = 200, V = 4: the same on two of the variables
        lowvar        T = 200, V = 2: a stretch of little variance around -1.5 or 1.5, in the first or second variable

    Classes are as frequent. Series of "nothing" have no region. The noise is the process that the published generator
    really runs, see `narma`. Spikes are of size 2 in noise of 0.25, and ramps tens of times as high as the noise, so an
    observer who knows the generator is right in all but a vanishing share of the series: the ceiling is 1.

    Args:
        name: see above.
        count, val_count, test_count: series of each split.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the series and the shuffles.
    """

    factors = ("shapes",)
    ceiling = 1.0  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

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
        super().__init__((count, val_count, test_count), batch_size, workers, seed)
        if name not in DRAWS:
            raise ValueError(f"no planted series named '{name}'; {hint(name, DRAWS)}")
        self.name = name

    def make_domain(self) -> SeriesDomain:
        steps, count = SHAPE[self.name]
        variables = tuple(f"sensor {v + 1}" for v in range(count))
        return SeriesDomain(classes=CLASSES[self.name], variables=variables, length=steps)

    def draw(self, count: int, generator: torch.Generator) -> Sample:
        label = torch.randperm(count, generator=generator) % 4
        x, inside, noise = DRAWS[self.name](label, generator)
        return Sample(x, label, inside[:, None].float(), noise)
