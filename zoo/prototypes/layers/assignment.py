"""Slots of classes that choose prototypes from a pool, softly while they learn and then one each."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.5  # of the Gumbel-softmax


class Slots(nn.Module):
    """K slots for each of C classes, and what they choose from a pool of M.

    Parameter: `affinity` (C, K, M). Buffers: `sharpness` σ of the choice · `hard` whether each slot is one prototype
    for good · `chosen` (C, K) which.

    Args:
        classes, count, pool: C, K, M.
        sharpness: σ to start with.
    """

    def __init__(self, classes: int, count: int, pool: int, sharpness: float) -> None:
        super().__init__()
        self.affinity = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, count, pool)))
        self.register_buffer("sharpness", torch.tensor(float(sharpness)))
        self.register_buffer("hard", torch.tensor(False))
        self.register_buffer("chosen", torch.zeros(classes, count, dtype=torch.int64))

    def distributions(self) -> Tensor:
        """(C, K, M) what slots choose, without noise."""
        soft = (self.sharpness * self.affinity.float() / TEMPERATURE).softmax(2)
        return torch.where(self.hard, F.one_hot(self.chosen, soft.shape[2]).to(soft), soft)

    def choices(self) -> Tensor:
        """(C, K, M) what slots choose; a sample of it in training, until they are hard."""
        if not self.training:
            return self.distributions()
        soft = F.gumbel_softmax(self.sharpness * self.affinity.float(), TEMPERATURE, dim=2)
        return torch.where(self.hard, F.one_hot(self.chosen, soft.shape[2]).to(soft), soft)

    def users(self) -> Tensor:
        """(C, M) bool, which class uses which prototypes: its K likeliest, or what its slots chose for good."""
        classes, count, pool = self.affinity.shape
        likeliest = self.distributions().detach().sum(1).topk(count).indices
        used = torch.where(self.hard, self.chosen, likeliest)
        return torch.zeros(classes, pool, dtype=torch.bool, device=used.device).scatter(1, used, True)

    @torch.no_grad()
    def harden(self) -> Tensor:
        """Makes each slot the prototype that it chooses most; returns `users`."""
        self.chosen.copy_(self.affinity.argmax(2))
        self.hard.fill_(True)
        return self.users()


def sharpness_at(epoch: int, epochs: int, limit: float) -> float:
    """σ in an epoch, from 0: rises as the square root of the time, to `limit` in the last of `epochs` and after it."""
    return limit * min((epoch + 1) / epochs, 1.0) ** 0.5


def overlap(distributions: Tensor) -> Tensor:
    """Mean over slots of the sum of the cosines with the other slots of their class; 0 if none share a prototype.

    Args:
        distributions: (C, K, M).
    """
    unit = F.normalize(distributions, dim=2)
    return (unit.sum(1).square().sum(1) - unit.square().sum((1, 2))).mean() / distributions.shape[1]
