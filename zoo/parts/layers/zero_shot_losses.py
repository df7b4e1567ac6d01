"""Losses of a denoiser that knows one noisy picture and no clean one."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor
from torch.nn import functional as F

FILL = 1.0  # pixels: width of the mean that fills hidden blocks
REACH = 3  # its radius
NARROW, WIDE = 9.0, 10.0  # of the difference of Gaussians
KERNEL = 7
STEP = 0.1  # ε: of a difference quotient, in standard deviations of the noise
Denoise = Callable[[Tensor], Tensor]


def hidden_loss(denoise: Denoise, noisy: Tensor, block: int, every: int, first: int | None = None) -> Tensor:
    """Mean squared error at pixels that the denoiser does not see: blocks of `block` by `block` pixels are filled in.

    The errors are those of the middles of the blocks, against the noisy values. Where the noise of a pixel is
    independent of what is outside of its block, the expectation is the error against the clean picture plus the
    variance of the noise, so that it needs no clean picture. Batson, Royer: "Noise2Self: Blind Denoising by
    Self-Supervision", ICML 2019.

    Args:
        denoise: from pictures to pictures.
        noisy: (B, C, H, W).
        block: side of a hidden block, odd.
        every: pixels between the middles of two blocks.
        first: row and column of the first middle; by default they are drawn.
    """
    height, width = noisy.shape[-2:]
    middle = noisy.new_zeros(height, width)
    sides = [min(every, side) for side in (height, width)]
    top, left = (int(torch.randint(side, ())) if first is None else min(first, side - 1) for side in sides)
    middle[top::every, left::every] = 1
    hidden = F.max_pool2d(middle[None, None], block, 1, block // 2)
    reach = torch.arange(-REACH, REACH + 1, device=noisy.device, dtype=noisy.dtype)
    bell = torch.exp(-reach.square() / (2 * FILL**2))
    kernel = (bell[:, None] * bell)[None, None]
    seen = 1 - hidden
    mean = F.conv2d((noisy * seen).flatten(0, 1)[:, None], kernel, padding=REACH).view_as(noisy)
    mean = mean / F.conv2d(seen, kernel, padding=REACH).clamp_min(1e-12)
    filled = torch.where(hidden > 0, mean, noisy)
    return (denoise(filled) - noisy)[..., middle > 0].square().mean()


def risk(denoise: Denoise, noisy: Tensor, restored: Tensor, noise: Tensor) -> Tensor:
    """Estimated mean squared error against the clean picture, less a constant: Stein's unbiased risk estimate (SURE).

        mean (f(y) - y)² + 2 mean b (f(y + ε b) - f(y)) / ε

    The first term alone would be smallest for a denoiser that leaves all noise; the second is how much of the noise it
    leaves. Without bias if the noise is Gaussian and b has its covariances, also between neighbours.

    Ramani, Blu, Unser: "Monte-Carlo SURE: A Black-Box Optimization of Regularization Parameters for General Denoising
    Algorithms", IEEE Transactions on Image Processing 2008; correlated noise: Eldar, "Generalized SURE for Exponential
    Families", 2009.

    Args:
        denoise: f, from pictures to pictures.
        noisy: y (B, C, H, W).
        restored: f(y).
        noise: b, like the noise of y, and independent of it.
    """
    stays = (noise * (denoise(noisy + STEP * noise) - restored)).mean() / STEP
    return (restored - noisy).square().mean() + 2 * stays


def published_losses(denoise: Denoise, noisy: Tensor, terms: Collection[str]) -> dict[str, Tensor]:
    """Some of the four terms of Filter2Noise, means of absolute differences.

        "pairs"        |f(S D₁ y) - f(S D₂ y)|                                        D: means of the diagonals of 2 x 2
        "resolutions"  |f(S D₁ y) - D₁ f(y)| + |f(S D₂ y) - D₂ f(y)|                  S: `shuffled`
        "diagonals"    |D₁ f(y) - D₂ f(y)|
        "edges"        ||G y| - |G f(y)||                                             G: a difference of Gaussians

    Args:
        denoise: f, from pictures to pictures.
        noisy: y (B, C, H, W).
        terms: names of those that are wanted.
    """
    if not terms:
        return {}
    whole, found = denoise(noisy), {}
    halves = diagonal_means(whole)
    if {"pairs", "resolutions"} & set(terms):
        first, second = (denoise(shuffled(half)) for half in diagonal_means(noisy))
        found["pairs"] = (first - second).abs().mean()
        found["resolutions"] = (first - halves[0]).abs().mean() + (second - halves[1]).abs().mean()
    found["diagonals"] = (halves[0] - halves[1]).abs().mean()
    found["edges"] = (edges(noisy).abs() - edges(whole).abs()).abs().mean()
    return {name: found[name] for name in terms}


def diagonal_means(picture: Tensor) -> tuple[Tensor, Tensor]:
    """The means of the two diagonals of each 2 x 2 block, (B, C, H // 2, W // 2); an odd last row or column is left."""
    height, width = (side // 2 * 2 for side in picture.shape[-2:])
    cut = picture[..., :height, :width]
    a, b, c, d = cut[..., ::2, ::2], cut[..., ::2, 1::2], cut[..., 1::2, ::2], cut[..., 1::2, 1::2]
    return (a + d) / 2, (b + c) / 2


def shuffled(picture: Tensor) -> Tensor:
    """The picture with the two most similar pixels of each 2 x 2 block swapped; the rest of odd sides stays."""
    height, width = (side // 2 * 2 for side in picture.shape[-2:])
    cut = picture[..., :height, :width]
    blocks = torch.stack([cut[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])  # (4, B, C, h, w)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    apart = torch.stack([(blocks[a] - blocks[b]).square() for a, b in pairs])
    nearest, mixed = apart.argmin(0), blocks.clone()
    for i, (a, b) in enumerate(pairs):
        here = nearest == i
        mixed[a], mixed[b] = torch.where(here, blocks[b], mixed[a]), torch.where(here, blocks[a], mixed[b])
    whole = picture.clone()
    for k, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        whole[..., i:height:2, j:width:2] = mixed[k]
    return whole


def edges(picture: Tensor) -> Tensor:
    """The difference of two Gaussian means of 7 x 7 pixels, widths 9 and 10, 0 outside of the picture."""
    reach = torch.arange(KERNEL, device=picture.device, dtype=picture.dtype) - KERNEL // 2
    kernels = []
    for width in (NARROW, WIDE):
        bell = torch.exp(-reach.square() / (2 * width**2))
        kernel = bell[:, None] * bell
        kernels.append(kernel / kernel.sum())
    kernel = (kernels[0] - kernels[1])[None, None]
    return F.conv2d(picture.flatten(0, 1)[:, None], kernel, padding=KERNEL // 2).view_as(picture)
