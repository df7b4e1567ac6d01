"""Losses of TimeX and TimeX++, each a mean, so that its scale does not depend on the size of a batch or series."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def answer_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence (...,) in nats of the distributions of logits (..., C)."""
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    middle = torch.logaddexp(p, q) - math.log(2)
    return ((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2


def label_consistency(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference, over pairs of rows, between the divergences of two kinds of answers (B, C).

    0 for a single row.
    """
    rows = first.shape[0]
    if rows < 2:
        return first.sum() * 0.0
    one, two = (answer_divergence(each[:, None], each[None]) for each in (first, second))
    return (one - two).square().sum() / (rows * (rows - 1))  # each pair counts twice, and twice in the divisor


def behaviour_consistency(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of the cosine similarities between rows in two embeddings (B, D) and (B, E).

    The mean is over pairs of different rows: a row is as similar to itself in every embedding. 0 for a single row.
    """
    rows = first.shape[0]
    if rows < 2:
        return first.sum() * 0.0
    one, two = (F.normalize(each, dim=1) @ F.normalize(each, dim=1).mT for each in (first, second))
    return (one - two).square().sum() / (rows * (rows - 1))


def size_divergence(logits: Tensor, rate: float) -> Tensor:
    """Mean KL divergence in nats of the Bernoulli laws of logits (B, L) from that of chance `rate`."""
    p = logits.sigmoid()
    on, off = F.logsigmoid(logits) - math.log(rate), F.logsigmoid(-logits) - math.log1p(-rate)
    return (p * on + (1 - p) * off).mean()


def roughness(chance: Tensor) -> Tensor:
    """Mean absolute change from one step to the next of chances (B, T, V); 0 of a single step."""
    return chance.diff(dim=1).abs().mean() if chance.shape[1] > 1 else chance.sum() * 0.0
