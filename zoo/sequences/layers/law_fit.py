"""Fits a first-order law by damped Gauss-Newton steps, and its intervals by a bootstrap over people."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.sequences.layers.first_order import FirstOrderLaw
from zoo.training.projection_set import ProjectionSet

ROWS = 256  # windows whose derivatives are computed at once
FIRST, LARGEST, SMALLEST = 1e-2, 1e8, 1e-9  # damping
DONE = 1e-10  # relative decrease of the loss at which a solution is one
SHORTER = (2.0, 4.0, 8.0, 16.0, 32.0)  # first time constants that are tried: the window divided by these
FASTER = (3.0, 10.0)  # and rises that are tried, times the decay
BOUND = 14.0  # largest absolute logarithm of a parameter


@dataclass(frozen=True)
class Windows:
    """Training windows in float64.

    Attributes:
        start: (N,) first values.
        drives: (N, T, J).
        target: (N, 1 or 2) values, and their changes per unit of time.
        subject: (N,) whole numbers from 0.
        weight: (1 or 2,) of the squared errors.
    """

    start: Tensor
    drives: Tensor
    target: Tensor
    subject: Tensor
    weight: Tensor


def read_windows(
    projection_set: ProjectionSet, split: Callable[[Tensor], tuple[Tensor, Tensor]], weights: tuple[float, ...]
) -> Windows:
    """All training windows; those of one "subject" belong together, without it each stands alone.

    Args:
        projection_set: the training set, this rank's share.
        split: function from inputs (B, T, V) to first values and drives.
        weights: of the squared errors in deviations of the targets.
    """
    parts = []
    for batch in projection_set:
        start, drives = split(batch["input"].double())
        own = batch.get("subject", batch["index"])
        target = batch["target"].double().view(len(start), -1)
        parts.append((start, drives, target, own))
    start, drives, target, subject = (projection_set.gather(torch.cat(part)) for part in zip(*parts, strict=True))
    deviation = target.std(0, correction=0)
    scale = torch.where(deviation > 1e-9, deviation, 1.0)
    weight = torch.tensor(weights, dtype=target.dtype, device=target.device) / scale.square()
    return Windows(start, drives, target, torch.unique(subject, return_inverse=True)[1], weight)


def scores_of(law: FirstOrderLaw, windows: Windows, rows: slice, logarithms: Tensor) -> Tensor:
    """(n, 1 or 2) values, and their changes, of some windows."""
    terms = law.terms(windows.start[rows], windows.drives[rows], logarithms)
    both = torch.stack([terms.value.sum(1), terms.rate.sum(1)], 1)
    return both[:, : windows.target.shape[1]]


def loss_of(law: FirstOrderLaw, windows: Windows, logarithms: Tensor) -> float:
    """The weighted mean squared error."""
    total = 0.0
    for first in range(0, len(windows.start), ROWS):
        rows = slice(first, first + ROWS)
        error = scores_of(law, windows, rows, logarithms) - windows.target[rows]
        total += float((error.square() * windows.weight).sum())
    return total / len(windows.start)


def normal_equations(law: FirstOrderLaw, windows: Windows, logarithms: Tensor) -> tuple[Tensor, Tensor]:
    """For each of S subjects, J'WJ (S, P, P) and -J'We (S, P) of its windows."""
    count, size = int(windows.subject.max()) + 1, len(logarithms)
    curvature = logarithms.new_zeros(count, size, size)
    descent = logarithms.new_zeros(count, size)
    for first in range(0, len(windows.start), ROWS):
        rows = slice(first, first + ROWS)

        def scores(given: Tensor, rows: slice = rows) -> tuple[Tensor, Tensor]:
            found = scores_of(law, windows, rows, given)
            return found, found

        slopes, now = torch.func.jacfwd(scores, has_aux=True)(logarithms)  # (n, C, P), (n, C)
        weighed = slopes * windows.weight[:, None]
        error = now - windows.target[rows]
        own = windows.subject[rows]
        curvature.index_add_(0, own, torch.einsum("ncp,ncq->npq", weighed, slopes))
        descent.index_add_(0, own, -torch.einsum("ncp,nc->np", weighed, error))
    return curvature, descent


def solve_law(law: FirstOrderLaw, windows: Windows, steps: int) -> Tensor:
    """(P,) the logarithms of smallest loss, from the best of several first guesses."""
    guesses = [_guess(law, windows, shorter, faster) for shorter in SHORTER for faster in FASTER]
    here = min(guesses, key=lambda guess: loss_of(law, windows, guess))
    loss, damping = loss_of(law, windows, here), FIRST
    for _ in range(steps):
        curvature, descent = (total.sum(0) for total in normal_equations(law, windows, here))
        while damping < LARGEST:
            step = _solved(curvature, descent, damping)
            there = (here + step).clamp(-BOUND, BOUND)
            new = loss_of(law, windows, there)
            if new < loss:
                break
            damping *= 4
        else:
            return here
        damping, done = max(damping / 8, SMALLEST), loss - new <= DONE * loss
        here, loss = there, new
        if done:
            break
    return here


def bootstrap(law: FirstOrderLaw, windows: Windows, logarithms: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """The 2.5 % and 97.5 % quantiles (P,) of the parameters over draws of as many subjects, with replacement.

    Each draw takes one Gauss-Newton step from the solution, in place of a new fit.

    Raises:
        ValueError: there is one subject.
    """
    curvature, descent = normal_equations(law, windows, logarithms)
    count = len(curvature)
    if count < 2:
        raise ValueError("intervals need series of two people or more; all have the same subject.")
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(count, (draws, count), generator=generator)
    weight = torch.zeros(draws, count, dtype=logarithms.dtype).scatter_add_(
        1, picked, torch.ones(draws, count, dtype=logarithms.dtype)
    )
    weight = weight.to(logarithms.device)
    step = _solved(torch.einsum("ds,spq->dpq", weight, curvature), weight @ descent, SMALLEST)
    values = law.values((logarithms + step).clamp(-BOUND, BOUND))
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype, device=values.device), 0)
    return low, high


def _guess(law: FirstOrderLaw, windows: Windows, shorter: float, faster: float) -> Tensor:
    """Logarithms for a time constant, with the gains of least squares, where these are positive."""
    guess = law.logarithms.detach().double().clone()
    guess[0] = -torch.log(guess.new_tensor(law.steps * law.step / shorter))
    linear = slice(1, 1 + law.drives)
    guess[linear] = 0.0
    guess[1 + law.drives :] = guess[0] + torch.log(guess.new_tensor(faster))
    terms = law.terms(windows.start, windows.drives, guess)
    wanted = windows.target[:, 0] - terms.value[:, 1]
    columns = terms.value[:, 2:]
    size = columns.square().mean(0).sqrt().clamp_min(1e-12)
    scaled = columns / size
    ridge = 1e-9 * len(scaled) * torch.eye(scaled.shape[1], dtype=scaled.dtype, device=scaled.device)
    found = torch.linalg.solve(scaled.mT @ scaled + ridge, scaled.mT @ wanted) / size
    least = wanted.square().mean().sqrt().clamp_min(1e-9) / size * 1e-2
    guess[linear] = found.maximum(least).log().clamp(-BOUND, BOUND)
    return guess


def _solved(curvature: Tensor, descent: Tensor, damping: float) -> Tensor:
    """The damped steps (..., P); a parameter that nothing depends on stays."""
    size = curvature.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)
    damped = curvature + torch.diag_embed(damping * size + 1e-12)
    return torch.linalg.solve(damped, descent)
