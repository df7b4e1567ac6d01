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

NEGLIGIBLE = 1e-2  # effective degrees of freedom below which a column is left out
LIMITS = (1e-9, 1e3)  # of a scale, relative to the variance of the scores


@dataclass(frozen=True)
class Posterior:
    """Mode and covariance of the coefficients.

    Attributes:
        mode: (r,).
        kept: (k,) columns that take part.
        root: (k, k) with root' root the posterior covariance of these.
        excess: (r,) a_c^2.
        expected: (r,) P_cc.
        freedom: effective degrees of freedom.
    """

    mode: Tensor
    kept: Tensor
    root: Tensor
    excess: Tensor
    expected: Tensor
    freedom: float


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
    root = torch.linalg.solve_triangular(factor, torch.diag(half), upper=False)
    freedom = float((reduced[:, kept] * root).sum())
    return Posterior(mode, kept, root, (moment - gram @ mode).square(), expected.clamp(min=0), freedom)


def updated(scale: Tensor, spectra: Tensor, posterior: Posterior, place: slice) -> Tensor:
    """The next scales (m,) of components with spectra (m, r) over some columns of the posterior."""
    ratio = (spectra @ posterior.excess[place]) / (spectra @ posterior.expected[place]).clamp(min=1e-300)
    return (scale * ratio.clamp(0.01, 100)).clamp(*LIMITS)
