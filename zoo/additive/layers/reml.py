"""Penalised least squares whose penalties are chosen by restricted maximum likelihood (REML).

    minimise  1/2 t'Gt - b't + 1/2 sum_c t_c^2 / v_c          v = scale @ spectra

G is the Gram matrix of all basis columns under the Newton weights, b = G t_old + gradient. The scales are variance
components: with a = b - G t and P = G - G V G (V the posterior covariance), the derivative of the restricted
likelihood of scale m is 1/2 sum_c spectra[m, c] (a_c^2 - P_cc), so scale m is multiplied by the ratio of the two sums
(Fellner-Schall; Wood, Fasiolo: "A generalized Fellner-Schall method for smoothing parameter optimization", Biometrics
2017). Columns that the prior all but switches off are left out of the factorisation; they still vote on their scale.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.additive.layers.blocks import Block

NEGLIGIBLE = 1e-2  # effective degrees of freedom below which a column is left out
POWER = 2.0  # of the ratio; above 1 speeds up scales that go to 0
PRIOR = 0.2  # degrees of freedom of an inverse-gamma prior around the first scales; matters for few rows alone
LIMITS = (1e-9, 1e3)  # of a scale, relative to the variance of the scores


@dataclass(frozen=True)
class Posterior:
    """Mode and covariance of the coefficients.

    Attributes:
        mode: (r,).
        kept: (k,) columns that take part.
        factor: (k, k) Cholesky factor of I + S G S over these, S the square roots of their prior variances.
        half: (k,) these square roots.
        excess: (r,) a_c^2.
        expected: (r,) P_cc.
        freedom: effective degrees of freedom.
    """

    mode: Tensor
    kept: Tensor
    factor: Tensor
    half: Tensor
    excess: Tensor
    expected: Tensor
    freedom: float

    def root(self) -> Tensor:
        """(k, k) with root' root the posterior covariance of the kept columns."""
        return torch.linalg.solve_triangular(self.factor, torch.diag(self.half), upper=False)


def solve(gram: Tensor, moment: Tensor, variance: Tensor, *, negligible: float = NEGLIGIBLE) -> Posterior:
    """Solves for given variances of the coefficients.

    Args:
        gram: (r, r) G.
        moment: (r,) b.
        variance: (r,) v >= 0.
        negligible: largest effective degrees of freedom of a column that is left out.
    """
    kept = (variance * gram.diagonal() > negligible).nonzero()[:, 0]
    half = variance[kept].sqrt()
    rows = half[:, None] * gram[kept]  # (kept, r)
    inner = rows[:, kept] * half
    inner.diagonal().add_(1)
    factor = torch.linalg.cholesky(inner)
    mode = torch.zeros_like(moment)
    mode[kept] = half * torch.cholesky_solve((half * moment[kept])[:, None], factor)[:, 0]
    reduced = torch.linalg.solve_triangular(factor, rows, upper=False)
    expected = gram.diagonal() - reduced.square().sum(0)
    expected = expected.clamp(min=0)
    freedom = float(variance[kept] @ expected[kept])
    return Posterior(mode, kept, factor, half, (moment - gram @ mode).square(), expected, freedom)


def updated(scale: Tensor, block: Block, posterior: Posterior, place: slice) -> Tensor:
    """The next scales (m,) of a block, given the place of its columns in the posterior."""
    excess = scale * (block.spectra @ posterior.excess[place]) + PRIOR * block.start
    expected = scale * (block.spectra @ posterior.expected[place]) + PRIOR * scale
    return (scale * (excess / expected).clamp(0.1, 10) ** POWER).clamp(*LIMITS)
