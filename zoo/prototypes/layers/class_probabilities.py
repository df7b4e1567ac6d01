"""From sampled distances to prototypes to probabilities of classes, and what they would be without a prototype."""

import math

import torch
from torch import Tensor


def class_shares(distance: Tensor, per_class: int) -> Tensor:
    """Probabilities (B, S, C) of classes in each sample: softmax of -distance (B, S, C·Q), summed over each class."""
    return (-distance).softmax(2).unflatten(2, (-1, per_class)).sum(3)


def log_class_shares(distance: Tensor, per_class: int) -> Tensor:
    """Log (B, C) of the mean over samples of `class_shares`, finite however small they are."""
    own = (-distance).unflatten(2, (-1, per_class)).logsumexp(3)  # (B, S, C)
    return own.log_softmax(2).logsumexp(1) - math.log(distance.shape[1])


def entropies(shares: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Entropy of the mean over samples, and mean of the entropies, in nats; their difference is the mutual information.

    Args:
        shares: (B, S, C), probabilities of classes in each sample.
        per_class: Q, prototypes that share their class's term.

    Returns:
        two (B, C·Q), each to be summed over prototypes.
    """
    predictive = torch.special.entr(shares.mean(1))
    expected = torch.special.entr(shares).mean(1)
    spread = lambda term: (term / per_class).repeat_interleave(per_class, 1)  # noqa: E731
    return spread(predictive), spread(expected)


def counterfactuals(distance: Tensor, target: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Exact probability (B, P) of `target` (B,) with each prototype taken away, and with it at distance 0.

    Sums without one term come from running sums of both ends: differences would lose what is left beside a large one.

    Args:
        distance: (B, S, P), P = C·Q prototypes, class by class.
        target: (B,).
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
