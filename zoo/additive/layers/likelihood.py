"""Likelihoods of additive scores: first and second derivatives for each row."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Task = Literal["regression", "binary", "multiclass"]
LEAST = 1e-4  # curvature of a row; keeps Newton steps short where the model is certain


def derivatives(task: Task, score: Tensor, target: Tensor, column: int, noise: float) -> tuple[Tensor, Tensor]:
    """Minus the gradient and the curvature of the negative log-likelihood, for one column of scores.

    Args:
        task: normal, Bernoulli (logit of class 1) or categorical (softmax).
        score: (N, C') scores.
        target: (N,) values or class numbers.
        column: of the scores.
        noise: variance of the residual; used by regression alone.

    Returns:
        Residual (N,) and weight (N,).
    """
    if task == "regression":
        return (target - score[:, 0]) / noise, torch.full_like(score[:, 0], 1 / noise)
    share = torch.sigmoid(score[:, 0]) if task == "binary" else score.softmax(1)[:, column]
    truth = target if task == "binary" else (target == column).to(share)
    return truth - share, (share * (1 - share)).clamp(min=LEAST)


def loss(task: Task, score: Tensor, target: Tensor, weight: Tensor) -> float:
    """Mean squared error, or mean cross-entropy in nats."""
    if task == "regression":
        each = (target - score[:, 0]).square()
    elif task == "binary":
        each = F.binary_cross_entropy_with_logits(score[:, 0], target, reduction="none")
    else:
        each = F.cross_entropy(score, target.long(), reduction="none")
    return float((each * weight).sum() / weight.sum())
