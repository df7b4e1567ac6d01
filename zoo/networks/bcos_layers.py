"""The layers of a B-cos network from scratch."""

from collections.abc import Sequence

from torch import nn

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
