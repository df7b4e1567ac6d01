"""Curves that never fall (or never rise), by construction."""

import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor


def monotone(curve: Tensor, weight: Tensor, rising: bool) -> Tensor:
    """The closest monotone curve in weighted least squares (pool adjacent violators; the order holds exactly).

    Args:
        curve: (bins,) values in the order of the bins.
        weight: (bins,) >= 0; bins without weight follow their neighbours.
        rising: whether the curve must not fall, rather than not rise.
    """
    positive = weight.clamp(min=1e-9 * max(float(weight.max()), 1e-9))
    found = isotonic_regression(curve.numpy(), sample_weight=positive.numpy(), increasing=rising)
    return torch.from_numpy(found.copy()).to(curve)  # a falling one comes with negative strides
