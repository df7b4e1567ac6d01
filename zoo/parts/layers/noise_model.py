"""Stationary noise of a picture: its covariances, estimated from what a denoiser removes, and draws of it."""

from collections.abc import Callable

import torch
from torch import Tensor

LAG = 2  # pixels: noise further apart counts as independent
ROUNDS = 16
SEED = 0  # of the noise that the estimate simulates


@torch.no_grad()
def noise_covariances(denoise: Callable[[Tensor], Tensor], noisy: Tensor) -> Tensor:
    """(H, W) the covariance of the noise of two pixels by their distance, periodic, of a picture (B, C, H, W).

    What a denoiser f removes, y - f(y), is less than the noise: some of it stays. How much is measured on f(y) with
    simulated noise n: the covariances are corrected until the simulation removes as much as was removed from y.

        c ← c + cov(y - f(y)) - cov(f(y) + n - f(f(y) + n)),   n of covariances c      `ROUNDS` times

    Covariances of pixels more than `LAG` rows or columns apart are 0. Texture that f removes counts as noise.

    Differs from estimates by wavelets or by the flattest patches: noise may be correlated between neighbours. It is the
    fixed point of a parametric bootstrap, a heuristic without a guarantee.

    Args:
        denoise: from pictures to pictures.
        noisy: y.
    """
    restored = denoise(noisy)
    removed = covariances(noisy - restored)
    found = removed
    white = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(SEED)).to(noisy)
    for _ in range(ROUNDS):
        simulated = restored + coloured(white, found)
        found = found + removed - covariances(simulated - denoise(simulated))
    return found


def covariances(values: Tensor) -> Tensor:
    """(H, W) mean products of the values (B, C, H, W) of two pixels less their mean, by their periodic distance.

    Those of pixels more than `LAG` rows or columns apart are 0.
    """
    height, width = values.shape[-2:]
    power = torch.fft.rfft2(values - values.mean((-2, -1), keepdim=True)).abs().square()
    found = torch.fft.irfft2(power.flatten(0, 1).mean(0), s=(height, width)) / (height * width)
    rows, columns = (torch.arange(side, device=values.device) for side in (height, width))
    near = (torch.minimum(rows, height - rows) <= LAG)[:, None] & (torch.minimum(columns, width - columns) <= LAG)
    return torch.where(near, found, 0.0)


def coloured(white: Tensor, covariance: Tensor) -> Tensor:
    """Independent noise (B, C, H, W) of variance 1 as noise of the covariances (H, W), of the periodic distance.

    Negative parts of the spectrum, which estimated covariances may have, count as 0.
    """
    spectrum = torch.fft.rfft2(covariance).real.clamp_min(0).sqrt()
    return torch.fft.irfft2(spectrum * torch.fft.rfft2(white), s=covariance.shape)
