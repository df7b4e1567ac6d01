"""What training puts in place of a removed region.

None of them is an imputer of `zoo.metrics.faithfulness`, whose fills (mean, blur, noisy linear, marginal, conditional
Gaussian, mask token, tokens of the corpus) a model meets only when it is measured.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain
from zoo.utils.errors import did_you_mean

Fill = Callable[[Tensor], Tensor]
"""From inputs (B, *shape) to what replaces their elements (B, *shape)."""


def colour(x: Tensor) -> Tensor:
    """One random value for each channel or variable, drawn around their mean over the batch."""
    return _like(x, torch.randn(len(x), *_per_channel(x), device=x.device))


def noise(x: Tensor) -> Tensor:
    """Independent normal noise with the mean and the deviation of each channel or variable."""
    return _like(x, torch.randn(x.shape, device=x.device))


def smooth(x: Tensor) -> Tensor:
    """Smooth noise with a few waves along each axis."""
    maps = x if x.ndim == 4 else x.mT[..., None]  # series as (B, V, T, 1)
    few = [min(n, 5) for n in maps.shape[2:]]
    waves = F.interpolate(torch.randn(*maps.shape[:2], *few, device=x.device), tuple(maps.shape[2:]), mode="bicubic")
    return _like(x, waves if x.ndim == 4 else waves[..., 0].mT)


def mosaic(x: Tensor) -> Tensor:
    """The means of about six blocks along each axis, which keep the rough colours of the input."""
    maps = x if x.ndim == 4 else x.mT[..., None]
    few = (min(maps.shape[2], 6), min(maps.shape[3], 6))
    blocks = F.interpolate(F.adaptive_avg_pool2d(maps, few), tuple(maps.shape[2:]), mode="nearest")
    return blocks if x.ndim == 4 else blocks[..., 0].mT


def columns(x: Tensor) -> Tensor:
    """Each feature of another row of the batch, drawn for each feature by itself."""
    rows = torch.rand(x.shape, device=x.device).argsort(0)
    return x.gather(0, rows)


def words(x: Tensor) -> Tensor:
    """For each token another token of the same text."""
    keys = torch.rand(x.shape, device=x.device).masked_fill(x == 0, 2.0)  # padding stays behind
    return x.gather(1, keys.argsort(1))


FILLS: dict[str, Fill] = {f.__name__: f for f in (colour, noise, smooth, mosaic, columns, words)}
NAMES = {
    "image": ("colour", "noise", "smooth", "mosaic"),
    "series": ("colour", "noise", "smooth", "mosaic"),
    "table": ("columns",),
    "text": ("words",),
    "code": ("words",),
}


def fills_for(domain: Domain, names: tuple[str, ...] = ()) -> tuple[Fill, ...]:
    """The replacements for a modality; all of them if no names are given.

    Raises:
        ValueError: an unknown name, one for another modality, or a modality without any.
    """
    known = NAMES.get(domain.modality, ())
    if not known:
        raise ValueError(f"removal has no imputers for inputs of modality {domain.modality}; leave `removal` out.")
    for name in names:
        if name not in known:
            raise ValueError(f"removal has no imputer '{name}' for {domain.modality}; {did_you_mean(name, known)}")
    return tuple(FILLS[name] for name in names or known)


def _per_channel(x: Tensor) -> tuple[int, ...]:
    """Shape of one value for each channel (C, 1, 1) of an image, or variable (1, V) of a series."""
    return (x.shape[1], 1, 1) if x.ndim == 4 else (1, x.shape[2])


def _like(x: Tensor, noise: Tensor) -> Tensor:
    """Standard noise with the mean and the deviation of x over the batch, for each channel or variable."""
    over = (0, 2, 3) if x.ndim == 4 else (0, 1)
    deviation, mean = torch.std_mean(x, over, keepdim=True)
    return (mean + deviation * noise).expand(x.shape)
