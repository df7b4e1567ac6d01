"""Sparse linear classifiers: an elastic-net path by SAGA, with one matrix product per gradient.

    minimise  mean cross-entropy(Z W' + b, y) + λ (α |W|₁ + (1 - α) / 2 |W|²)          Z (N, k), W (C, k), b free

Wong, Santurkar, Madry: "Leveraging Sparse Linear Layers for Debuggable Deep Networks" (GLM-SAGA), ICML 2021; the
coefficients are those of Oikarinen et al.: "Label-Free Concept Bottleneck Models", ICLR 2023, section 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.progress import track

ALPHA = 0.99  # share of the L1 term
RATIO = 2**-0.1  # of successive λ on a path
LENGTH = 150  # λ on a path


@dataclass
class Solution:
    """A sparse linear classifier.

    Attributes:
        weight: (C, k), exactly 0 where a class does not use a concept.
        bias: (C,).
        lam: λ.
        objective: value of the full objective after every epoch.
    """

    weight: Tensor
    bias: Tensor
    lam: float
    objective: list[float]

    @property
    def density(self) -> float:
        """Share of non-zero weights, in [0, 1]."""
        return (self.weight != 0).float().mean().item()


def saga(
    z: Tensor,
    target: Tensor,
    classes: int,
    lam: float,
    *,
    alpha: float = ALPHA,
    batch_size: int = 256,
    epochs: int = 1000,
    tolerance: float = 1e-5,
    start: Solution | None = None,
    seed: int = 0,
) -> Solution:
    """Solves for one λ by proximal SAGA; with `batch_size >= N` this is proximal gradient descent.

    The gradient of a row is (softmax - onehot) x z, so the table of past gradients needs C numbers per row, and the
    mean over a batch is one product (C, B) x (B, k).

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        lam: λ >= 0.
        alpha: share of the L1 term, in [0, 1].
        batch_size: rows per step.
        epochs: largest number of passes.
        tolerance: stop when an epoch improves the objective by less than this share of it; 0 for never.
        start: solution to start from; by default zeros.
        seed: of the order of the rows.

    Raises:
        ValueError: shapes that do not fit, a negative λ, or an α outside [0, 1].
    """
    check_problem(z, target, lam, alpha)
    rows = len(z)
    padded = torch.cat([z, z.new_ones(rows, 1)], 1)  # the last column carries the bias
    weight = z.new_zeros(classes, padded.shape[1])
    if start is not None:
        weight = torch.cat([start.weight, start.bias[:, None]], 1).to(z).clone()
    step = 1 / _lipschitz(padded) / (1 if batch_size >= rows else 3)
    onehot = F.one_hot(target, classes).to(z)
    table = (padded @ weight.T).softmax(1) - onehot  # (N, C) the gradient of each row's logits
    mean = table.T @ padded / rows
    order = torch.Generator().manual_seed(seed)
    history: list[float] = []
    for _ in range(epochs):
        for chosen in torch.randperm(rows, generator=order).to(z.device).split(batch_size):
            part = padded[chosen]
            fresh = (part @ weight.T).softmax(1) - onehot[chosen]
            change = (fresh - table[chosen]).T @ part
            weight -= step * (change / len(chosen) + mean)
            _shrink(weight[:, :-1], step * lam, alpha)
            mean += change / rows
            table[chosen] = fresh
        history.append(objective(z, target, weight[:, :-1], weight[:, -1], lam, alpha))
        if tolerance and len(history) > 1 and history[-2] - history[-1] < tolerance * abs(history[-2]):
            break
    return Solution(weight[:, :-1].clone(), weight[:, -1].clone(), lam, history)


def path(
    z: Tensor,
    target: Tensor,
    classes: int,
    *,
    length: int = LENGTH,
    alpha: float = ALPHA,
    epochs: int = 8,
    tolerance: float = 1e-3,
    title: str = "",
) -> Iterator[Solution]:
    """Solutions for decreasing λ, each started from the previous one; the first λ is the smallest with W = 0.

    Args:
        z: (N, k) concept scores, preferably standardised.
        target: (N,) classes.
        classes: C.
        length: number of λ; each is 2^-0.1 times the previous one.
        alpha: share of the L1 term, in [0, 1].
        epochs: largest number of passes for each λ.
        tolerance: see `saga`.
        title: of the progress bar; without one there is no bar.

    Raises:
        ValueError: shapes that do not fit, or an α outside [0, 1].
    """
    check_problem(z, target, 0.0, alpha)
    largest = largest_penalty(z, target, classes, alpha)
    share = F.one_hot(target, classes).to(z).mean(0)
    solution = Solution(z.new_zeros(classes, z.shape[1]), share.clamp_min(1e-6).log(), largest, [])
    for i in track(range(length), title, shown=bool(title)):
        lam = largest * RATIO**i
        solution = saga(z, target, classes, lam, alpha=alpha, epochs=epochs, tolerance=tolerance, start=solution)
        yield solution


def largest_penalty(z: Tensor, target: Tensor, classes: int, alpha: float = ALPHA) -> float:
    """The smallest λ at which all weights are 0."""
    onehot = F.one_hot(target, classes).to(z)
    return (((onehot.mean(0) - onehot).T @ z) / len(z)).abs().max().item() / max(alpha, 1e-3)


def objective(z: Tensor, target: Tensor, weight: Tensor, bias: Tensor, lam: float, alpha: float = ALPHA) -> float:
    """Value of the objective that `saga` minimises."""
    penalty = alpha * weight.abs().sum() + (1 - alpha) / 2 * weight.square().sum()
    return (F.cross_entropy(z @ weight.T + bias, target) + lam * penalty).item()


def truncate(weight: Tensor, per_class: int) -> Tensor:
    """Keeps exactly the `per_class`·C largest weights of (C, k) and sets the others to 0.

    Raises:
        ValueError: fewer weights than that are non-zero.
    """
    keep, have = per_class * len(weight), int((weight != 0).sum())
    if keep > have:
        raise ValueError(f"cannot keep {keep} weights ({per_class} per class); only {have} are non-zero.")
    order = weight.abs().flatten().sort(descending=True, stable=True).indices[:keep]
    left = torch.zeros_like(weight.flatten()).scatter(0, order, weight.flatten()[order])
    return left.view_as(weight)


def _shrink(weight: Tensor, amount: float, alpha: float) -> None:
    """Proximal step of the elastic net, in place."""
    sign = weight.sign()
    weight.abs_().sub_(amount * alpha).clamp_min_(0).mul_(sign).div_(1 + amount * (1 - alpha))


def _lipschitz(z: Tensor, rounds: int = 30) -> float:
    """Upper bound of the curvature: largest eigenvalue of Z'Z / (2N), by power iteration."""
    v = z.new_ones(z.shape[1])
    for _ in range(rounds):
        v = z.T @ (z @ v)
        v = v / v.norm().clamp_min(1e-12)
    return max((z @ v).square().sum().item() / (2 * len(z)), 1e-6)


def check_problem(z: Tensor, target: Tensor, lam: float, alpha: float) -> None:
    """Refuses what the solvers cannot take.

    Raises:
        ValueError: shapes that do not fit, a negative λ, or an α outside [0, 1].
    """
    if z.ndim != 2 or target.shape != z.shape[:1]:
        raise ValueError(f"expected scores (N, k) and targets (N,); got {tuple(z.shape)} and {tuple(target.shape)}.")
    if lam < 0 or not 0 <= alpha <= 1:
        raise ValueError(f"expected lam >= 0 and alpha in [0, 1]; got {lam} and {alpha}.")
