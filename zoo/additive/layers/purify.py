"""Purification: pairs without main effects, main effects without an intercept; the scores stay the same.

Lengerich, Tan, Chang, Hooker, Caruana: "Purifying Interaction Effects with the Functional ANOVA", AISTATS 2020,
algorithm 1 (mass moving). A table is pure when its weighted mean is 0 along each row and each column.
"""

import torch
from torch import Tensor

STEPS = 1000


def purify_pair(table: Tensor, density: Tensor, tolerance: float = 1e-10) -> tuple[Tensor, Tensor, Tensor]:
    """Splits a table into a pure one and two curves: table[a, b] = pure[a, b] + rows[a] + columns[b].

    Args:
        table: (A, B, ...) values.
        density: (A, B) >= 0. Rows and columns of the table without density are left as they are.
        tolerance: largest weighted mean that may remain, relative to the largest value.

    Returns:
        pure (A, B, ...), rows (A, ...) and columns (B, ...).
    """
    pure = table.clone()
    share = density.to(table).view(*density.shape, *(1,) * (table.ndim - 2))
    along_row = share / share.sum(1, keepdim=True).clamp(min=1e-300)
    along_column = share / share.sum(0, keepdim=True).clamp(min=1e-300)
    rows, columns = torch.zeros_like(table[:, 0]), torch.zeros_like(table[0])
    least = tolerance * max(float(table.abs().max()), 1e-300)
    for _ in range(STEPS):
        mean = (pure * along_row).sum(1)
        rows += mean
        pure -= mean[:, None]
        mean = (pure * along_column).sum(0)
        columns += mean
        pure -= mean
        if float((pure * along_row).sum(1).abs().max()) <= least:
            break
    return pure, rows, columns


def centre(curve: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """Splits curves (B, C') into ones of weighted mean 0 and their means (C',); density is (B,)."""
    mean = (curve * density[:, None]).sum(0) / density.sum()
    return curve - mean, mean
