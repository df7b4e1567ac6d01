"""Class probabilities from distances to sampled prototypes, and what they would be without one of the prototypes."""

import math

import torch
from torch import Tensor


def class_probabilities(distance: Tensor, per_class: int) -> Tensor:
    """Probabilities (B, S, C) in each sample: softmax of -distance (B, S, C·Q), summed over the Q of each class."""
    return (-distance).softmax(2).unflatten(2, (-1, per_class)).sum(3)


def log_class_probabilities(distance: Tensor, per_class: int) -> Tensor:
    """Logarithm (B, C) of the mean over samples of `class_probabilities`; finite for any distances."""
    own = (-distance).unflatten(2, (-1, per_class)).logsumexp(3)  # (B, S, C)
    return own.log_softmax(2).logsumexp(1) - math.log(distance.shape[1])


def entropies(probabilities: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Predictive and expected entropy in nats, as terms of the prototypes; their difference is the mutual information.

    The predictive entropy is that of the mean over samples, the expected entropy the mean of the samples' entropies.
    The term of a class is divided equally among its prototypes.

    Args:
        probabilities: (B, S, C) in each sample.
        per_class: Q.

    Returns:
        two (B, C·Q), each to be summed over prototypes.
    """
    predictive = torch.special.entr(probabilities.mean(1))
    expected = torch.special.entr(probabilities).mean(1)
    spread = lambda term: (term / per_class).repeat_interleave(per_class, 1)  # noqa: E731
    return spread(predictive), spread(expected)


def counterfactuals(distance: Tensor, target: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Exact probability (B, P) of `target` without each prototype, and with each at distance 0.

    Sums without one term come from running sums of both ends, because a difference would lose small terms beside a
    large one.

    Args:
        distance: (B, S, P), P = C·Q prototypes, class by class.
        target: (B,) classes.
        per_class: Q.
    """
    closeness = -distance
    owner = torch.arange(distance.shape[2], device=distance.device) // per_class
    own = (owner == target[:, None])[:, None]  # (B, 1, P)
    rest = without_each(closeness)
    mine = without_each(closeness.masked_fill(~own, -torch.inf))
    absent = (mine - rest).exp().mean(1)
    zero = torch.zeros_like(rest)
    with_it = torch.where(own, torch.logaddexp(mine, zero), mine)
    present = (with_it - torch.logaddexp(rest, zero)).exp().mean(1)
    return absent, present


def without_each(values: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials of all others, for each entry of the last dimension."""
    before = torch.nn.functional.pad(values, (1, 0), value=-torch.inf)[..., :-1].logcumsumexp(-1)
    after = torch.nn.functional.pad(values, (0, 1), value=-torch.inf)[..., 1:].flip(-1).logcumsumexp(-1).flip(-1)
    return torch.logaddexp(before, after)
