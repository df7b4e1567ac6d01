"""The first heads of an elastic-net path that have given numbers of weights, without solving the whole path.

The path is that of Wong, Santurkar, Madry (ICML 2021), also used for ANEC (Srivastava, Yan, Weng, NeurIPS 2024): 150 λ,
each 2^-0.1 times the previous one. Here every fourth λ is solved roughly, and where the number of weights passes a
level, those between are solved too, until the first whose converged head has so many weights.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_linear import LENGTH, RATIO, Solution, check_problem, largest_penalty
from zoo.networks.sparse_newton import solve
from zoo.utils.progress import track

STRIDE = 4  # λ between two that are solved roughly
ROUGH = 5e-3  # tolerance there
CLOSE = 5e-4  # tolerance of each λ near a level
NEAR = 0.99  # share of the weights of a level from which on heads are solved to convergence
TOLERANCE = 3e-5  # of the heads that are returned
EXPLAINED = 0.99  # share of the deviance at which the path ends


def first_with(
    z: Tensor,
    target: Tensor,
    classes: int,
    counts: Sequence[int],
    *,
    length: int = LENGTH,
    tolerance: float = TOLERANCE,
    title: str = "",
) -> dict[int, Solution]:
    """For each count, the converged head at the first λ of the path where it has so many weights.

    The path ends early once a cross-entropy of 1 % of that without concepts is left.

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        counts: numbers of weights of all classes together.
        length: number of λ on the path; each is 2^-0.1 times the previous one.
        tolerance: of the heads, see `solve`.
        title: of the progress bar; without one there is no bar.

    Returns:
        count -> head, without those that no head of the path has.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_problem(z, target, 0.0, 1.0)
    largest = largest_penalty(z, target, classes)
    share = F.one_hot(target, classes).to(z).mean(0).clamp_min(1e-6)
    unexplained = -float((share * share.log()).sum())

    def at(place: int, start: Solution, accuracy: float) -> Solution:
        return solve(z, target, classes, largest * RATIO**place, tolerance=accuracy, start=start)

    before, low = Solution(z.new_zeros(classes, z.shape[1]), share.log(), largest, []), 0
    found: dict[int, Solution] = {}
    left = sorted(set(counts))
    for place in track(range(STRIDE, length - 1 + STRIDE, STRIDE), title, shown=bool(title)):
        if not left:
            break
        place = min(place, length - 1)
        after = at(place, before, ROUGH)
        while left and used(after) >= left[0]:
            head = _first(at, left[0], before, low, place, tolerance)
            if used(head) < left[0]:  # the rough head had more weights than the converged one
                after = head
                break
            while left and used(head) >= left[0]:
                found[left.pop(0)] = head
        cross_entropy = F.cross_entropy(z @ after.weight.T + after.bias, target).item()
        if cross_entropy < (1 - EXPLAINED) * unexplained:
            break
        before, low = after, place
    return found


def used(solution: Solution) -> int:
    """The number of weights that are not 0."""
    return int((solution.weight != 0).sum())


def _first(
    at: Callable[[int, Solution, float], Solution], count: int, before: Solution, low: int, high: int, tolerance: float
) -> Solution:
    """The converged head at the first λ in (low, high] with `count` weights, or at the last λ if there is none."""
    head = before
    for place in range(low + 1, high + 1):
        head = at(place, head, CLOSE)
        if used(head) > NEAR * count:
            head = at(place, head, tolerance)
            if used(head) >= count:
                break
    return head
