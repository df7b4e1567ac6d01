"""The layers of a B-cos network from scratch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.domain import ImageDomain
from zoo.networks.dynamic_linear import HeldConv, UncentredNorm
from zoo.networks.dynamic_network import Chain


def bcos_layers(channels: int, widths: Sequence[int], strides: Sequence[int], b: float, max_out: int) -> Chain:
    """3 x 3 B-cos convolutions, each with a batch norm that only divides.

    Args:
        channels: of the encoded input.
        widths: channels of each layer.
        strides: of each layer.
        b: the exponent B.
        max_out: units of each output.

    Raises:
        ValueError: no layer, a size below 1, or not one stride for each width.
    """
    if not widths or len(strides) != len(widths) or min(*widths, *strides) < 1:
        raise ValueError(f"widths and strides must name the same layers, at least 1 each; got {widths} and {strides}.")
    layers = []
    for width, stride in zip(widths, strides, strict=True):
        weight = nn.Conv2d(channels, width * max_out, 3).weight.detach()
        layers += [HeldConv(weight, b, (stride, stride), (1, 1), max_out=max_out), UncentredNorm(width)]
        channels = width
    return Chain(layers)


def with_inverse(x: Tensor, domain: ImageDomain | None) -> Tensor:
    """What the first layer reads of images (B, C', H, W): the image and its inverse (B, 2 C', H, W).

    Args:
        x: images as the domain normalises them.
        domain: turns them back into x in [0, 1], and the result is [x, 1 - x]; without one it is [x, -x], for networks
            that were B-cosified.
    """
    if domain is None:
        return torch.cat([x, -x], 1)
    mean, std = (x.new_tensor(v).view(1, -1, 1, 1) for v in (domain.mean, domain.std))
    x = x * std + mean
    return torch.cat([x, 1 - x], 1)
