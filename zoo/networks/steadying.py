"""Maps that noise in the image moves less, from a network that stays as it is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_between


@dataclass(frozen=True)
class Steady:
    """What is averaged before and after the network of a backbone; both are off by default."""

    blur: float = 0.0
    """Standard deviation in pixels of a Gaussian blur of the image; 0 to 8."""
    mirror: bool = False
    """Take the mean of the map and that of the mirror image, flipped back, which takes twice as long."""

    def __post_init__(self) -> None:
        check_between(0, 8, blur=self.blur)

    @property
    def active(self) -> bool:
        """Whether anything is averaged."""
        return self != Steady()


class Steadied(nn.Module):
    """The map of a network on a blurred image, averaged over the image and its mirror image; nothing is trained.

        map = g(G x)   or   (g(G x) + M g(M G x)) / 2,      G a Gaussian blur, M the mirror image

    Noise of pixels is mostly fine detail, which the blur takes away, together with what the network could read from it.
    The noise of the two maps differs, and what they show does not: their mean is steadier, and that of a mirror image
    is exactly mirrored. Often it is more accurate too (as is the mean over crops and reflections of Krizhevsky,
    Sutskever, Hinton, NIPS 2012, section 4.1). What reads these maps should be trained on them.

    Args:
        options: see `Steady`.
    """

    kernel: Tensor

    def __init__(self, options: Steady) -> None:
        super().__init__()
        self.options = options
        radius = math.ceil(3 * options.blur)
        steps = torch.arange(-radius, radius + 1, dtype=torch.float64) / (options.blur or 1)
        self.register_buffer("kernel", (-0.5 * steps.square()).softmax(0).float(), persistent=False)

    def before(self, x: Tensor) -> Tensor:
        """The blurred images (B, C, H, W); beyond the border, the outermost pixels are repeated."""
        if not self.options.blur:
            return x
        with torch.autocast(x.device.type, enabled=False):
            channels, kernel = x.shape[1], self.kernel.to(x)
            radius = len(kernel) // 2
            weight = kernel.expand(channels, 1, 1, -1)
            padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
            return F.conv2d(F.conv2d(padded, weight, groups=channels), weight.transpose(2, 3), groups=channels)

    def forward(self, network: nn.Module, x: Tensor) -> Tensor:
        """The map of a network, which gives a map, or a list of maps of which the last is taken."""
        x = self.before(x)
        found = last_map(network(channels_last(x)))
        if not self.options.mirror:
            return found
        return (found + last_map(network(channels_last(x.flip(-1)))).flip(-1)) / 2


def last_map(out: Tensor | list[Tensor]) -> Tensor:
    """The last map of a network."""
    return out[-1] if isinstance(out, list) else out


def channels_last(x: Tensor) -> Tensor:
    """Images in the memory format that is 1.6 to 2.4 times as fast on a CPU."""
    return x.contiguous(memory_format=torch.channels_last)
