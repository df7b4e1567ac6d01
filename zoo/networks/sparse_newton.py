"""Sparse linear classifiers, solved to convergence: proximal Newton steps with a fixed bound of the curvature.

The objective is that of `zoo.networks.sparse_linear`. The curvature of a softmax over classes is at most half the Gram
matrix of the scores for each class (Böhning: "Multinomial logistic regression algorithm", Annals of the Institute of
Statistical Mathematics, 1992). Each step minimises this bound plus the penalty by one sweep of coordinate descent, for
all classes at once, with Nesterov's momentum and restarts. Correlated concepts, which slow gradient steps down, are
thereby taken into account.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_linear import ALPHA, Solution, check_problem, largest_penalty, objective
from zoo.utils.progress import track

RATIO = 2**-0.4  # of successive λ on a path
LENGTH = 40  # λ on a path
TOLERANCE = 1e-3
CHECKED = 5  # steps between two evaluations of the objective


def solve(
    z: Tensor,
    target: Tensor,
    classes: int,
    lam: float,
    *,
    alpha: float = ALPHA,
    steps: int = 500,
    tolerance: float = TOLERANCE,
    start: Solution | None = None,
) -> Solution:
    """Solves for one λ.

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        lam: λ >= 0.
        alpha: share of the L1 term, in [0, 1].
        steps: largest number of steps.
        tolerance: stop when five steps improve the objective by less than this share of it.
        start: solution to start from; by default zeros.

    Raises:
        ValueError: shapes that do not fit, a negative λ, or an α outside [0, 1].
    """
    check_problem(z, target, lam, alpha)
    rows = len(z)
    padded = torch.cat([z, z.new_ones(rows, 1)], 1)  # the last column carries the bias
    onehot = F.one_hot(target, classes).to(z)
    gram = padded.T @ padded / (2 * rows)
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    weight = z.new_zeros(padded.shape[1], classes)
    if start is not None:
        weight = torch.cat([start.weight, start.bias[:, None]], 1).to(z).T.contiguous()
    ahead, momentum = weight, 1.0
    history = [_value(z, target, weight, lam, alpha)]
    for step in range(1, steps + 1):
        slope = padded.T @ ((padded @ ahead).softmax(1) - onehot) / rows  # (k + 1, C)
        following = _descend(ahead, slope, gram, lam * alpha, lam * (1 - alpha))
        moved = following - weight
        if float(((ahead - following) * moved).sum()) > 0:  # the momentum points uphill
            momentum = 1.0
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, weight, momentum = following + (momentum - 1) / grown * moved, following, grown
        if step % CHECKED == 0:
            history.append(_value(z, target, weight, lam, alpha))
            gained = history[-2] - history[-1]
            if gained < 0:  # momentum went too far
                ahead, momentum = weight, 1.0
            elif gained < tolerance * abs(history[-1]):
                break
    return Solution(weight[:-1].T.contiguous(), weight[-1].clone(), lam, history)


def path(z: Tensor, target: Tensor, classes: int, *, length: int = LENGTH, title: str = "") -> Iterator[Solution]:
    """Converged solutions for decreasing λ, each started from the previous one.

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        length: number of λ; each is 2^-0.4 times the previous one.
        title: of the progress bar; without one there is no bar.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_problem(z, target, 0.0, ALPHA)
    largest = largest_penalty(z, target, classes)
    share = F.one_hot(target, classes).to(z).mean(0)
    solution = Solution(z.new_zeros(classes, z.shape[1]), share.clamp_min(1e-6).log(), largest, [])
    for i in track(range(length), title, shown=bool(title)):
        solution = solve(z, target, classes, largest * RATIO**i, start=solution)
        yield solution


def _descend(weight: Tensor, slope: Tensor, gram: Tensor, absolute: float, square: float) -> Tensor:
    """One sweep of coordinate descent on the bound around weights (k + 1, C); the last row has no penalty."""
    weight, slope = weight.clone(), slope.clone()
    last = len(weight) - 1
    for j, curvature in enumerate(gram.diagonal().tolist()):
        wanted = curvature * weight[j] - slope[j]
        wanted = F.softshrink(wanted, absolute) / (curvature + square) if j < last else wanted / curvature
        slope.addcmul_(gram[:, j : j + 1], wanted - weight[j])
        weight[j] = wanted
    return weight


def _value(z: Tensor, target: Tensor, weight: Tensor, lam: float, alpha: float) -> float:
    return objective(z, target, weight[:-1].T, weight[-1], lam, alpha)
