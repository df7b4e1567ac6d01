"""Sparse linear classifiers, solved to convergence by proximal Newton steps.

The objective is that of `zoo.networks.sparse_linear`. Each step minimises a quadratic model of the loss plus the
penalty by coordinate descent, for all classes at once, and then searches along the step. The model has the curvature of
each class, Z' diag(p (1 - p)) Z / N, but none between classes. Correlated concepts, which slow gradient steps down, are
thereby taken into account, and so are rows that are classified with certainty, which no longer bend the loss. A step
moves only weights that are not 0 or violate a condition of optimality, so that its cost depends on the size of the
solution.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_descent import Problem
from zoo.networks.sparse_linear import ALPHA, Solution, check_problem, largest_penalty
from zoo.utils.progress import track

RATIO = 2**-0.4  # of successive λ on a path
LENGTH = 40  # λ on a path
TOLERANCE = 1e-3
VIOLATION = 30  # times the tolerance is the share of λ by which conditions of optimality may be violated
SWEEPS = 3  # of coordinate descent in each step
COARSE = 1e-3  # share of the objective below whose improvement steps have the curvature between classes too
WIDEST = 600  # number of weights up to which they are taken
GATHERED = 2**24  # numbers that are gathered at a time
ENTERING = 50  # weights of a class that may become non-zero in a step
GROUPS = 5  # of classes with similar numbers of weights
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
        tolerance: stop when a step improves the objective by less than this share of it, or when no condition of
            optimality is violated by more than 30 times this share of λ.
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
    weight, history = newton(problem, weight, steps, tolerance)
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
    """Minimises the objective from weights (k + 1, C); see `solve`. The objective is given after every step."""
    padded = problem.padded
    columns = torch.cat([padded, torch.zeros_like(padded[:, :1])], 1).T.contiguous()  # the last one fills up
    logits = padded @ weight
    history = [problem.value(weight, logits)]
    resolution = 4 * torch.finfo(padded.dtype).eps
    for _ in range(steps):
        p = logits.softmax(1)
        slope = problem.slope(p)
        if problem.violation(weight, slope) <= VIOLATION * tolerance * problem.lam:
            break
        moved = _within_classes(problem, weight, slope, p, columns)
        change = padded @ moved
        size, best = _search(problem, weight, moved, logits, change, history[-1])
        weight, logits = weight + size * moved, logits + size * change
        near = history[-1] - best < COARSE * abs(best)  # the weights that are 0 are nearly known
        if near and tolerance < COARSE and int((weight != 0).sum()) <= WIDEST:
            moved = _between_classes(problem, weight, logits.softmax(1))
            change = padded @ moved
            size, best = _search(problem, weight, moved, logits, change, best, longest=1.0)
            weight, logits = weight + size * moved, logits + size * change
        history.append(best)
        if history[-2] - best <= max(tolerance, resolution) * abs(best):
            break
    return weight, history


def _within_classes(problem: Problem, weight: Tensor, slope: Tensor, p: Tensor, columns: Tensor) -> Tensor:
    """(k + 1, C) the step to the minimum of the quadratic model, with the curvature within classes.

    Only weights that are not 0, or whose slope exceeds the penalty, can move: usually few of a class. For these the
    columns of Z are gathered, and coordinate descent sees only them. At most `ENTERING` weights of a class, or as many
    as it has, become non-zero in a step: those with the largest slopes.
    """
    used = weight[:-1] != 0
    excess = (slope[:-1].abs() - problem.lam * problem.alpha).clamp_min(0).masked_fill(used, torch.inf)
    held = used.sum(0)
    counts = (excess > 0).sum(0).minimum(held + held.clamp_min(ENTERING))
    order = excess.topk(int(counts.max()), 0).indices  # (a, C)
    spare = torch.arange(len(order), device=order.device)[:, None] >= counts
    order = torch.cat([order.masked_fill(spare, len(weight)), order.new_full((1, len(counts)), len(weight) - 1)])
    gram = _curvature(columns, order, counts, p * (1 - p))
    wide = lambda values: torch.cat([values, torch.zeros_like(values[:1])])  # noqa: E731
    start = wide(weight).gather(0, order)
    found = problem.descend(start, wide(slope).gather(0, order), gram, SWEEPS)
    return torch.zeros_like(wide(weight)).scatter_(0, order, found - start)[:-1]


def _curvature(columns: Tensor, order: Tensor, counts: Tensor, bend: Tensor) -> Tensor:
    """(a, a, C) the curvature of each class in its columns (a, C), of rows that bend by (N, C).

    Classes with similar numbers of columns are computed together.
    """
    rows, (size, classes) = columns.shape[1], order.shape
    gram = columns.new_zeros(size, size, classes)
    root = (bend / rows).sqrt().T
    for part in counts.argsort().split(max(min(GATHERED // (size * rows), -(-classes // GROUPS)), 1)):
        used = torch.arange(int(counts[part].max()) + 1, device=order.device)
        used[-1] = size - 1
        seen = columns[order[used][:, part].T].mul_(root[part, None])  # (c, a, N)
        gram[used[:, None, None], used[:, None], part] = (seen @ seen.mT).permute(1, 2, 0)
    diagonal = torch.diagonal(gram)  # (C, a), a view
    mean = diagonal.sum() / (counts.sum() + classes)
    diagonal += 1e-6 + 1e-3 * mean + (diagonal == 0) * mean
    return gram


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
