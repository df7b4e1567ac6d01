"""A convolutional autoencoder between images and latent vectors, and distributions of latent vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Images (B, C, H, W) to latent vectors (B, D): 3x3 convolutions of stride 2, ReLU between, the last one linear.

    Attributes:
        sizes: height and width before the first convolution and after each.
        map: channels, height and width of the last map.
        dim: D, the number of entries of the last map.

    Args:
        channels: C.
        size: H and W.
        widths: channels after each convolution.
    """

    def __init__(self, channels: int, size: tuple[int, int], widths: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [(size[0], size[1])]
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()]
            height, width = self.sizes[-1]
            self.sizes.append(((height + 1) // 2, (width + 1) // 2))
        self.layers = nn.Sequential(*layers[:-1])
        self.map = (widths[-1], *self.sizes[-1])
        self.dim = self.map[0] * self.map[1] * self.map[2]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(1)


class Decoder(nn.Module):
    """Latent vectors (B, D) to pixels (B, C, H, W) in [0, 1]: an encoder's convolutions, transposed and reversed.

    Args:
        encoder: whose sizes are reversed.
        channels: C.
        widths: of the encoder.
    """

    def __init__(self, encoder: Encoder, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.map = encoder.map
        layers: list[nn.Module] = []
        outputs = (channels, *widths[:-1])
        for before, after, size in zip(widths[::-1], outputs[::-1], encoder.sizes[-2::-1], strict=True):
            even = (1 - size[0] % 2, 1 - size[1] % 2)  # an even size and the odd one below it shrink to the same
            layers += [nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=even), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z.unflatten(1, self.map))


class Gaussians(nn.Module):
    """P distributions N(μ, diag σ²) in D dimensions, or P points.

    Args:
        count: P.
        dim: D.
        deviation: σ to start from; None for points.
    """

    def __init__(self, count: int, dim: int, deviation: float | None) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(count, dim))
        start = None if deviation is None else torch.full((count, dim), deviation).log()
        self.log_deviation = None if start is None else nn.Parameter(start)

    def deviation(self) -> Tensor:
        """σ (P, D); 0 for points."""
        return torch.zeros_like(self.mean) if self.log_deviation is None else self.log_deviation.exp()

    def at(self, noise: Tensor) -> Tensor:
        """Samples (S, P, D) = μ + σ · noise, of standard normal noise (S, P, D)."""
        return self.mean + self.deviation() * noise

    def divergence(self, prior: float) -> Tensor:
        """KL divergence from N(0, prior²) in nats, summed over dimensions and distributions; 0 for points."""
        if self.log_deviation is None:
            return self.mean.new_zeros(())
        ratio = (2 * self.log_deviation).exp() / prior**2
        return 0.5 * (ratio + self.mean.square() / prior**2 - 1 - ratio.log()).sum()


def standard_noise(samples: int, gaussians: Gaussians) -> Tensor:
    """Standard normal noise (S, P, D) of a fixed seed, so that equal inputs have equal explanations."""
    return torch.randn(samples, *gaussians.mean.shape, generator=torch.Generator().manual_seed(0))
