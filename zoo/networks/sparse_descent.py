"""Coordinate descent on a quadratic model of the loss with an elastic-net penalty, for all classes at once."""

import torch
from torch import Tensor
from torch.nn import functional as F


def descend(weight: Tensor, slope: Tensor, gram: Tensor, absolute: float, square: float, sweeps: int = 1) -> Tensor:
    """The weights after sweeps of coordinate descent.

    Args:
        weight: (k + 1, C) where the model is made; the last row, the bias, has no penalty.
        slope: (k + 1, C) gradient of the loss there.
        gram: (k + 1, k + 1, C) curvature of each class, or (k + 1, k + 1, 1) of all classes.
        absolute: factor of the L1 term.
        square: factor of half the squared L2 term.
        sweeps: number of passes over the coordinates.
    """
    weight, slope = weight.clone(), slope.clone()
    last, curvature = len(weight) - 1, torch.diagonal(gram).T.contiguous()  # (k + 1, C)
    for _ in range(sweeps):
        for j in range(last + 1):
            wanted = curvature[j] * weight[j] - slope[j]
            wanted = F.softshrink(wanted, absolute) / (curvature[j] + square) if j < last else wanted / curvature[j]
            slope.addcmul_(gram[j], wanted - weight[j])
            weight[j] = wanted
    return weight
