"""Receptive fields: which pixels of an image, or steps of a sequence, each cell of a feature map can depend on."""

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn

POINTWISE = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.Identity,
    nn.Dropout,
    nn.Sigmoid,
    nn.GELU,
    nn.ReLU6,
    nn.SiLU,
)
CONVOLVING = (nn.Conv1d, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class ReceptiveField:
    """Along both axes, cell i depends on the pixels start + i · jump to start + i · jump + size - 1 only.

    Attributes:
        size: pixels of a field.
        jump: pixels between the fields of neighbouring cells.
        start: first pixel of the first field; negative where the network pads its input.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def then(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "ReceptiveField":
        """The field after one more convolution or pooling."""
        reach = (kernel - 1) * dilation
        return ReceptiveField(self.size + reach * self.jump, self.jump * stride, self.start - padding * self.jump)

    def covers(self, cells: int, side: int) -> Tensor:
        """(cells, side) bool: the pixels of a line of `side` pixels that each of the cells depends on."""
        first = (torch.arange(cells) * self.jump + self.start)[:, None]
        pixel = torch.arange(side)
        return (pixel >= first) & (pixel < first + self.size)


def receptive_field(network: nn.Module) -> ReceptiveField | None:
    """The receptive field of a chain of convolutions and poolings; None if the network has other layers.

    A residual block has the field of its attribute `widest`, the branch that sees all that the block sees.
    """
    return _after(ReceptiveField(), network)


def _after(field: ReceptiveField | None, layer: nn.Module) -> ReceptiveField | None:
    if field is None or isinstance(layer, POINTWISE):
        return field
    if isinstance(chain := getattr(layer, "widest", None), nn.Module):
        return _after(field, chain)
    if isinstance(layer, nn.Sequential):
        return reduce(_after, layer, field)
    if isinstance(layer, nn.ConstantPad1d):
        return replace(field, start=field.start - layer.padding[0] * field.jump)
    if isinstance(layer, CONVOLVING):
        numbers = [_side(value) for value in (layer.kernel_size, layer.stride, layer.padding)]
        dilation = _side(getattr(layer, "dilation", 1))
        if None in numbers or dilation is None:
            return None
        return field.then(*numbers, dilation)  # pyright: ignore
    return None


def _side(value: object) -> int | None:
    """The number that holds for both axes; None if they differ or it is a name."""
    sides = set(value) if isinstance(value, tuple) else {value}
    side = sides.pop()
    return side if not sides and isinstance(side, int) else None
