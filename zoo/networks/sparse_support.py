"""Linear classifiers with few weights for each class: the support from an elastic-net path, the weights fitted anew."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.sparse_linear import Solution
from zoo.networks.sparse_newton import path

STEPS = 60  # of L-BFGS for the kept weights
RIDGE = 1e-4  # keeps the weights finite where classes can be separated


def sparsest(
    z: Tensor,
    target: Tensor,
    classes: int,
    counts: Sequence[int],
    *,
    non_negative: bool = False,
    bias: bool = True,
    ridge: float = RIDGE,
    title: str = "",
) -> dict[int, Solution]:
    """For each number k a classifier with at most k weights for each class.

    The path goes to smaller λ until each class has as many weights as the largest k, or to its end. For each k, the
    first solution with k weights in each class, or the last one, gives the k largest weights of each class (of those
    above 0 with `non_negative`), which are then fitted without a penalty on their number.

    Args:
        z: (N, k) activations; standardised here.
        target: (N,) classes.
        classes: C.
        counts: numbers k.
        non_negative: no weight below 0.
        bias: fit biases; without them they are 0.
        ridge: weight of the mean square of the kept weights.
        title: of the progress bar.

    Returns:
        k -> solution, whose weights apply to z as given.

    Raises:
        ValueError: shapes that do not fit.
    """
    deviation, mean = torch.std_mean(z, 0)
    deviation = torch.where(deviation > 1e-6, deviation, torch.inf)  # a constant unit distinguishes no classes
    scaled, found, left = (z - mean) / deviation, {}, sorted(counts)
    solution: Solution | None = None
    for solution in path(scaled, target, classes, title=title):
        fewest = int(((solution.weight > 0) if non_negative else (solution.weight != 0)).sum(1).min())
        while left and fewest >= left[0]:
            found[left.pop(0)] = solution
        if not left:
            break
    for k in left:
        found[k] = solution
    base = scaled if bias else z / deviation
    fitted = {}
    for k in sorted(counts):
        one = _refitted(base, target, found[k], k, non_negative, bias, ridge)
        weight = one.weight / deviation
        shift = weight @ mean if bias else torch.zeros_like(one.bias)
        fitted[k] = Solution(weight, one.bias - shift, one.lam, one.objective)
    return fitted


def _refitted(
    z: Tensor, target: Tensor, start: Solution, k: int, non_negative: bool, biased: bool, ridge: float
) -> Solution:
    """The k largest weights of each class, fitted by L-BFGS."""
    size = start.weight.clamp_min(0) if non_negative else start.weight.abs()
    top = size.topk(min(k, size.shape[1]), 1).indices
    kept = torch.zeros_like(size).scatter(1, top, 1.0) * (size > 0)
    weight = start.weight.clone().requires_grad_()
    bias = (start.bias.clone() if biased else torch.zeros_like(start.bias)).requires_grad_(biased)
    optimizer = torch.optim.LBFGS([weight, bias] if biased else [weight], max_iter=STEPS, line_search_fn="strong_wolfe")
    history: list[float] = []

    def allowed() -> Tensor:
        return (weight.clamp_min(0) if non_negative else weight) * kept

    def closure() -> float:
        optimizer.zero_grad()
        chosen = allowed()
        loss = F.cross_entropy(z @ chosen.T + bias, target) + ridge * chosen.square().sum() / len(bias)
        loss.backward()
        history.append(loss.item())
        return history[-1]

    with torch.enable_grad():
        optimizer.step(closure)
    return Solution(allowed().detach(), bias.detach(), start.lam, history)
