"""Non-negative codes over given atoms, by accelerated projected gradients."""

import torch
from torch import Tensor

STEPS = 100


@torch.no_grad()
def non_negative_codes(x: Tensor, atoms: Tensor, shrink: float = 0.0, steps: int = STEPS) -> Tensor:
    """Codes (N, m) that minimise ½ ‖x - z D‖² + shrink · Σ z over z >= 0, one row apart from the others.

    FISTA: Beck and Teboulle: "A Fast Iterative Shrinkage-Thresholding Algorithm", SIAM J. Imaging Sciences 2009;
    with restarts: O'Donoghue and Candès, Foundations of Computational Mathematics 2015.

    Args:
        x: (N, d).
        atoms: D (m, d).
        shrink: at least 0; 0 is non-negative least squares.
        steps: number of gradient steps.
    """
    pull, between = x @ atoms.T - shrink, atoms @ atoms.T
    rate = 1 / largest_eigenvalue(between if len(atoms) <= x.shape[1] else atoms.T @ atoms)
    z = ahead = torch.zeros_like(pull)
    t = torch.ones_like(pull[:, :1])
    for _ in range(steps):
        following = torch.addmm(pull, ahead, between, alpha=-1).mul_(rate).add_(ahead).relu_()
        moved = following - z
        t = t.where(((ahead - following) * moved).sum(1, keepdim=True) <= 0, 1.0)  # restart where it overshoots
        t, before = (1 + (1 + 4 * t * t).sqrt()) / 2, t
        ahead, z = following + (before - 1) / t * moved, following
    return z


def largest_eigenvalue(matrix: Tensor) -> Tensor:
    """An upper bound () of the largest eigenvalue of a matrix (n, n) without negative ones, at most n^(1/8) above it.

    The Frobenius norm of the fourth power, to the power 1 / 4.
    """
    scale = matrix.diagonal().sum().clamp_min(1e-12)  # no power overflows
    square = (matrix / scale) @ (matrix / scale)
    return scale * (square @ square).norm().clamp_min(1e-30) ** 0.25
