"""Maps of a random density field with two unknown parameters: regression on images, after cosmology."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import ImageDomain
from zoo.utils.checks import check_at_least

AMPLITUDE, SLOPE = (0.4, 1.2), (1.0, 3.0)


class DensityFields(DataModule):
    """Log-normal maps with voids and clusters; targets are amplitude and slope of their power spectrum, 0 to 1.

    A Gaussian field with power |k|^-slope, scaled to a standard deviation `amplitude`, through exp(δ) - 1, as in
    Coles, Jones: "A lognormal model for the cosmological mass distribution", MNRAS 1991. A generated substitute for the
    weak-lensing maps of You et al., ICML 2025, whose targets are Ω_m and σ_8.

    Args:
        count: number of training maps, including those held out for validation.
        test_count: number of test maps.
        side: of a map in pixels.
        **loading: the options of `DataModule`.
    """

    def __init__(self, count: int = 4000, test_count: int = 1000, side: int = 32, **loading: Any) -> None:
        super().__init__(**loading)
        check_at_least(10, count=count)
        check_at_least(1, test_count=test_count)
        check_at_least(4, side=side)
        self.counts, self.side = {"train": count, "test": test_count}, side

    def make_domain(self) -> ImageDomain:
        return ImageDomain(
            classes=("amplitude", "slope"),
            size=(self.side, self.side),
            channels=1,
            mean=(0.3,),  # a pixel of 0 to 255 is a density of -1 to 4, see `density`
            std=(0.2,),
            task="regression",
        )

    def items(self, split: str, training: bool) -> Rows:
        return self._maps[split]

    @cached_property
    def _maps(self) -> dict[str, Rows]:
        domain, rows = self.make_domain(), {}
        for stream, (split, count) in enumerate(self.counts.items()):
            draw = torch.Generator().manual_seed(2 * self.seed + stream)
            targets = torch.rand(count, 2, generator=draw)
            maps = density(targets, self.side, draw)
            pixels = ((maps + 1) / 5 * 255).round().clamp(0, 255).to(torch.uint8)[:, None]
            rows[split] = Rows(domain.normalise(pixels), targets, [f"{split} map {i}" for i in range(count)])
        return rows


def density(targets: Tensor, side: int, draw: torch.Generator) -> Tensor:
    """Maps (N, side, side) of density / mean - 1, for amplitudes and slopes (N, 2) on the scale 0 to 1."""
    spread = torch.tensor([AMPLITUDE, SLOPE])
    amplitude, slope = (spread[:, 0] + targets * (spread[:, 1] - spread[:, 0])).T[..., None, None]
    frequency = torch.fft.fftfreq(side)
    k = (frequency[:, None].square() + frequency.square()).sqrt()
    k[0, 0] = 1.0  # the mean, which is subtracted below
    noise = torch.fft.fft2(torch.randn(len(targets), side, side, generator=draw))
    field = torch.fft.ifft2(noise * k ** (-slope / 2)).real
    field = field - field.mean((1, 2), keepdim=True)
    field = amplitude * field / field.std((1, 2), keepdim=True)
    return (field - amplitude.square() / 2).exp() - 1
