"""The likelihood of answers under random masks, and losses whose gradient teaches the selector."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def likelihood(scores: Tensor, target: Tensor, task: str) -> Tensor:
    """Log likelihood (B, n) of targets under n draws of scores (B, n, C); of values minus the mean squared error."""
    if task == "classification":
        return scores.log_softmax(-1).gather(2, target[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
    return -(scores - target.view(target.shape[0], 1, -1)).square().mean(-1)


def answer(scores: Tensor, task: str) -> Tensor:
    """Scores (B, C) of n draws (B, n, C): the log of the mean probability, or the mean value."""
    if task == "classification":
        return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])
    return scores.mean(1)


def bound(values: Tensor) -> Tensor:
    """Log of the mean likelihood (B,) over all draws of log likelihoods (B, S, R): the log is outside of the mean."""
    return values.flatten(1).logsumexp(1) - math.log(values[0].numel())


def without_each(values: Tensor) -> Tensor:
    """(B, S) the bound with the likelihood of one mask replaced by the geometric mean of the others.

    Mnih and Rezende: "Variational Inference for Monte Carlo Objectives" (VIMCO), ICML 2016, equation 11.
    """
    each = values.logsumexp(2)  # (B, S)
    samples = each.shape[1]
    others = (each.sum(1, keepdim=True) - each) / (samples - 1)
    replaced = each[:, None].expand(-1, samples, -1).clone()  # row s: mask s replaced
    replaced.diagonal(dim1=1, dim2=2).copy_(others)
    return replaced.logsumexp(2) - math.log(samples * values.shape[2])


def score_function(value: Tensor, baseline: Tensor, log_probability: Tensor) -> Tensor:
    """(B,) a term of value 0 whose gradient is that of the bound by the score function.

    Args:
        value: (B,) the bound.
        baseline: (B, S) or (B, 1), what does not depend on the mask.
        log_probability: (B, S) of the masks.
    """
    advantage = (value[:, None] - baseline).detach()
    term = (advantage * log_probability).sum(1)
    return term - term.detach()


def rebar(value: Tensor, relaxed: Tensor, conditional: Tensor, log_probability: Tensor) -> Tensor:
    """(B,) a term of value 0 whose gradient for the selector is that of REBAR with a control variate of weight 1.

    Args:
        value: (B,) the bound at hard masks.
        relaxed: (B,) at relaxed masks.
        conditional: (B,) at relaxed masks drawn given the hard ones.
        log_probability: (B, S) of the hard masks.
    """
    term = (value - conditional).detach() * log_probability.sum(1) + relaxed - conditional
    return term - term.detach()


def row_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the rows (B,), weighted if there are weights (B,)."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def row_weights(rows: Tensor | None, classes: Tensor | None, target: Tensor) -> Tensor | None:
    """Weights (B,) of the rows of a batch: their own (B,) times those of their classes (C,); None without any."""
    if classes is None:
        return rows
    weights = classes[target]
    return weights if rows is None else weights * rows


def mean_change(chance: Tensor) -> Tensor:
    """Mean absolute difference of chances (B, *grid) between neighbours, summed over the axes of the grid."""
    axes = [axis for axis in range(1, chance.ndim) if chance.shape[axis] > 1]
    each = [chance.diff(dim=axis).abs().mean() for axis in axes]
    return torch.stack(each).sum() if each else chance.new_zeros(())


def kept_mean(chance: Tensor, present: Tensor | None) -> Tensor:
    """Mean chance of selection (B,) over the elements that an input has."""
    if present is None:
        return chance.mean(1)
    return (chance * present).sum(1) / present.sum(1).clamp_min(1)


def chances(logits: Tensor) -> Tensor:
    """Chances (B, L) of logits, above 0 for all but -inf."""
    known = logits.isfinite()
    return torch.where(known, F.sigmoid(logits.where(known, 0)).clamp_min(torch.finfo(logits.dtype).tiny), 0.0)
