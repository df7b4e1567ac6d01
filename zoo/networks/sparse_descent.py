"""The problem of a sparse linear classifier, and coordinate descent on a quadratic model of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Problem:
    """Mean cross-entropy(Z W, y) + λ (α |W|₁ + (1 - α) / 2 |W|²), without a penalty on the bias.

    Attributes:
        padded: (N, k + 1) Z, concept scores and a column of ones.
        target: (N,) classes y.
        onehot: (N, C) the same.
        lam: λ.
        alpha: share of the L1 term.
    """

    padded: Tensor
    target: Tensor
    onehot: Tensor
    lam: float
    alpha: float

    def value(self, weight: Tensor, logits: Tensor) -> float:
        """The objective at weights W (k + 1, C), whose last row is the bias, with logits Z W (N, C)."""
        inner = weight[:-1]
        penalty = self.alpha * inner.abs().sum() + (1 - self.alpha) / 2 * inner.square().sum()
        return (F.cross_entropy(logits, self.target) + self.lam * penalty).item()

    def slope(self, p: Tensor) -> Tensor:
        """(k + 1, C) the gradient of the cross-entropy where the probabilities are p (N, C)."""
        return self.padded.T @ (p - self.onehot) / len(self.padded)

    def violation(self, weight: Tensor, slope: Tensor) -> float:
        """The largest violation of a condition of optimality, by weights (k + 1, C) with this slope.

        The slope of a weight balances its penalty, that of a weight of 0 is at most λα, and that of a bias is 0.
        """
        inner = weight[:-1]
        balance = slope[:-1] + self.lam * (self.alpha * inner.sign() + (1 - self.alpha) * inner)
        excess = torch.where(inner != 0, balance.abs(), balance.abs() - self.lam * self.alpha)
        return max(float(excess.max()), float(slope[-1].abs().max()))

    def descend(self, weight: Tensor, slope: Tensor, gram: Tensor, sweeps: int = 1) -> Tensor:
        """The weights after sweeps of coordinate descent.

        Args:
            weight: (k + 1, C) where the quadratic model is made.
            slope: (k + 1, C) gradient of the cross-entropy there.
            gram: (k + 1, k + 1, C) curvature of each class, or (k + 1, k + 1, 1) of all classes.
            sweeps: number of passes over the coordinates.
        """
        absolute, square = self.lam * self.alpha, self.lam * (1 - self.alpha)
        weight, slope = weight.clone(), slope.clone()
        last, curvature = len(weight) - 1, torch.diagonal(gram).T.contiguous()  # (k + 1, C)
        for _ in range(sweeps):
            for j in range(last + 1):
                wanted = curvature[j] * weight[j] - slope[j]
                wanted = F.softshrink(wanted, absolute) / (curvature[j] + square) if j < last else wanted / curvature[j]
                slope.addcmul_(gram[j], wanted - weight[j])
                weight[j] = wanted
        return weight
