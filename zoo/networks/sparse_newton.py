"""Sparse linear classifiers, solved to convergence by proximal Newton steps.

The objective is that of `zoo.networks.sparse_linear`. Each step minimises a quadratic model of the loss plus the
penalty by coordinate descent, for all classes at once, and then searches along the step. The model has the curvature of
each class, Z' diag(p (1 - p)) Z / N, but none between classes. Correlated concepts, which slow gradient steps down, are
thereby taken into account, and so are rows that are classified with certainty, which no longer bend the loss. For
problems whose curvature is expensive, `zoo.networks.sparse_bound` takes cheaper steps.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_bound import bounded
from zoo.networks.sparse_descent import Problem
from zoo.networks.sparse_linear import ALPHA, Solution, check_problem, largest_penalty
from zoo.utils.progress import track

RATIO = 2**-0.4  # of successive λ on a path
LENGTH = 40  # λ on a path
TOLERANCE = 1e-3
SWEEPS = 3  # of coordinate descent in each step
COARSE = 1e-3  # tolerance below which the first steps have the curvature between classes
EXACT = 15  # number of these steps
WIDEST = 800  # number of weights up to which they are taken
EXPENSIVE = 2e9  # multiplications for the curvature of all classes
EXPLAINED = 0.97  # share of the deviance at which a path ends


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
        tolerance: stop when a step (five steps of the bound) improves the objective by less than this share of it.
        start: solution to start from; by default zeros.

    Raises:
        ValueError: shapes that do not fit, a negative λ, or an α outside [0, 1].
    """
    check_problem(z, target, lam, alpha)
    padded = torch.cat([z, z.new_ones(len(z), 1)], 1)  # the last column carries the bias
    weight = z.new_zeros(padded.shape[1], classes)
    if start is not None:
        weight = torch.cat([start.weight, start.bias[:, None]], 1).to(z).T.contiguous()
    problem = Problem(padded, target, F.one_hot(target, classes).to(z), lam, alpha)
    cost = len(z) * classes * padded.shape[1] ** 2 / 2
    minimise = newton if cost < EXPENSIVE else bounded
    weight, history = minimise(problem, weight, steps, tolerance)
    return Solution(weight[:-1].T.contiguous(), weight[-1].clone(), lam, history)


def path(z: Tensor, target: Tensor, classes: int, *, length: int = LENGTH, title: str = "") -> Iterator[Solution]:
    """Converged solutions for decreasing λ, each started from the previous one.

    Ends early once the classes are explained: a cross-entropy of 3 % of that without concepts.

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        length: largest number of λ; each is 2^-0.4 times the previous one.
        title: of the progress bar; without one there is no bar.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_problem(z, target, 0.0, ALPHA)
    largest = largest_penalty(z, target, classes)
    share = F.one_hot(target, classes).to(z).mean(0).clamp_min(1e-6)
    unexplained = -float((share * share.log()).sum())
    solution = Solution(z.new_zeros(classes, z.shape[1]), share.log(), largest, [])
    for i in track(range(length), title, shown=bool(title)):
        solution = solve(z, target, classes, largest * RATIO**i, start=solution)
        yield solution
        left = F.cross_entropy(z @ solution.weight.T + solution.bias, target).item()
        if left < (1 - EXPLAINED) * unexplained:
            break


def newton(problem: Problem, weight: Tensor, steps: int, tolerance: float) -> tuple[Tensor, list[float]]:
    """Minimises the objective; see `bounded` for the arguments. The objective is given after every step."""
    padded = problem.padded
    rows, width = padded.shape
    first, second = torch.triu_indices(width, width, device=padded.device)
    products = (padded[:, first] * padded[:, second]).T / rows  # (k' (k' + 1) / 2, N)
    gram = padded.new_empty(width, width, problem.onehot.shape[1])
    logits = padded @ weight
    history = [problem.value(weight, logits)]
    for step in range(steps):
        p = logits.softmax(1)
        gram[first, second] = gram[second, first] = products @ (p * (1 - p))
        diagonal = torch.diagonal(gram)  # (C, k'), a view
        diagonal += 1e-6 + 1e-3 * diagonal.mean()
        moved = problem.descend(weight, problem.slope(p), gram, SWEEPS) - weight
        change = padded @ moved
        size, best = _search(problem, weight, moved, logits, change, history[-1])
        weight, logits = weight + size * moved, logits + size * change
        if tolerance < COARSE and step < EXACT and int((weight != 0).sum()) <= WIDEST:
            moved = _between_classes(problem, weight, logits.softmax(1))
            change = padded @ moved
            size, best = _search(problem, weight, moved, logits, change, best, longest=1.0)
            weight, logits = weight + size * moved, logits + size * change
        history.append(best)
        if history[-2] - best < tolerance * abs(best):
            break
    return weight, history


def _between_classes(problem: Problem, weight: Tensor, p: Tensor) -> Tensor:
    """(k + 1, C) the Newton step of the weights that are not 0 and of the bias, with the curvature between classes.

    Weights that would change their sign become 0.
    """
    padded, lam, alpha = problem.padded, problem.lam, problem.alpha
    rows, last = len(padded), len(weight) - 1
    used = weight != 0
    used[last] = True
    concept, owner = used.nonzero(as_tuple=True)
    seen = padded[:, concept]
    scaled = seen * p[:, owner]
    curvature = ((seen.T @ scaled) * (owner[:, None] == owner) - scaled.T @ scaled) / rows
    free, now = concept == last, weight[used]
    curvature.diagonal().add_(1e-5 * curvature.diagonal().mean() + ~free * lam * (1 - alpha))
    slope = problem.slope(p)[used] + ~free * lam * (alpha * now.sign() + (1 - alpha) * now)
    factor, failed = torch.linalg.cholesky_ex(curvature)
    moved = torch.zeros_like(weight)
    if not int(failed):
        there = now - torch.cholesky_solve(slope[:, None], factor)[:, 0]
        moved[used] = torch.where((there * now < 0) & ~free, 0, there) - now
    return moved


def _search(
    problem: Problem,
    weight: Tensor,
    moved: Tensor,
    logits: Tensor,
    change: Tensor,
    value: float,
    longest: float = 1024.0,
) -> tuple[float, float]:
    """The length of a step, doubled while the objective falls or halved until it does, and the objective there."""
    at = lambda size: problem.value(weight + size * moved, logits + size * change)  # noqa: E731
    size, best = 1.0, at(1.0)
    if best < value:
        while size < longest and (longer := at(2 * size)) < best:
            size, best = 2 * size, longer
        return size, best
    for _ in range(10):
        size /= 2
        if (best := at(size)) < value:
            return size, best
    return 0.0, value
