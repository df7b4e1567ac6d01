"""Maps that noise in the image moves less, from a network that stays as it is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_between


@dataclass(frozen=True)
class Steady:
    """What is averaged before and after the network of a backbone; all are off by default."""

    blur: float = 0.0
    """Standard deviation in pixels of a Gaussian blur of the image; 0 to 8."""
    mirror: bool = False
    """Take the mean of the map and that of the mirror image, flipped back, which takes twice as long."""
    blur_map: float = 0.0
    """Standard deviation in cells of a Gaussian blur of the map; 0 to 8."""

    def __post_init__(self) -> None:
        check_between(0, 8, blur=self.blur, blur_map=self.blur_map)

    @property
    def active(self) -> bool:
        """Whether anything is averaged."""
        return self != Steady()


class Steadied(nn.Module):
    """The blurred map of a network on a blurred image, averaged over its mirror image; nothing is trained.

        map = G' g(G x)   or   G' (g(G x) + M g(M G x)) / 2,      G and G' Gaussian blurs, M the mirror image

    Noise of pixels is mostly fine detail, which the blur takes away, together with what the network could read from it.
    The noise of the two maps differs, and what they show does not: their mean is steadier, and that of a mirror image
    is exactly mirrored. Often it is more accurate too (as is the mean over crops and reflections of Krizhevsky,
    Sutskever, Hinton, NIPS 2012, section 4.1). A blur of the map mixes each cell with its neighbours, whose noise
    differs too. What reads these maps should be trained on them.

    Args:
        options: see `Steady`.
    """

    kernel: Tensor
    map_kernel: Tensor

    def __init__(self, options: Steady) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("kernel", gaussian(options.blur), persistent=False)
        self.register_buffer("map_kernel", gaussian(options.blur_map), persistent=False)

    def before(self, x: Tensor) -> Tensor:
        """The blurred images (B, C, H, W)."""
        return blurred(x, self.kernel)

    def forward(self, network: nn.Module, x: Tensor) -> Tensor:
        """The map of a network, which gives a map, or a list of maps of which the last is taken."""
        x = self.before(x)
        found = last_map(network(channels_last(x)))
        if self.options.mirror:
            found = (found + last_map(network(channels_last(x.flip(-1)))).flip(-1)) / 2
        return blurred(found, self.map_kernel)


def gaussian(deviation: float) -> Tensor:
    """Weights of a Gaussian blur, up to three standard deviations from the middle; of 0, the weight 1 alone."""
    radius = math.ceil(3 * deviation)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64) / (deviation or 1)
    return (-0.5 * steps.square()).softmax(0).float()


def blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Images or maps (B, C, H, W), blurred along both axes; beyond the border, the outermost values are repeated."""
    if len(kernel) == 1:
        return x
    with torch.autocast(x.device.type, enabled=False):
        channels, radius = x.shape[1], len(kernel) // 2
        weight = kernel.to(x).expand(channels, 1, 1, -1)
        padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
        return F.conv2d(F.conv2d(padded, weight, groups=channels), weight.transpose(2, 3), groups=channels)


def last_map(out: Tensor | list[Tensor]) -> Tensor:
    """The last map of a network."""
    return out[-1] if isinstance(out, list) else out


def channels_last(x: Tensor) -> Tensor:
    """Images in the memory format that is 1.6 to 2.4 times as fast on a CPU."""
    return x.contiguous(memory_format=torch.channels_last)
