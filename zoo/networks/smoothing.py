"""Gaussian smoothing along an axis."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def smooth(values: Tensor, sigma: float, axis: int, radius: int | None = None) -> Tensor:
    """Blurs values along one axis with a Gaussian; beyond the border they count as 0.

    Args:
        values: of any shape.
        sigma: standard deviation of the Gaussian, in cells.
        axis: to blur along.
        radius: of the kernel, in cells; by default 3 sigma, rounded up.
    """
    radius = math.ceil(3 * sigma) if radius is None else radius
    steps = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = (-0.5 * (steps / sigma).square()).softmax(0)
    moved = values.movedim(axis, -1)
    flat = moved.reshape(-1, 1, moved.shape[-1])
    return F.conv1d(flat, kernel[None, None], padding=radius).view(moved.shape).movedim(-1, axis)
