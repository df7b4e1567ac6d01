"""Assignment of prototypes from a pool to the slots of classes: soft while it is learned, then one prototype each."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32

TEMPERATURE = 0.5  # of the Gumbel-softmax


class PrototypeAssignment(nn.Module):
    """K slots for each of C classes, each with a distribution over a pool of M prototypes.

    Parameter: `affinity` (C, K, M). Buffers: `sharpness` σ of the distributions · `hard`, whether each slot has one
    prototype for good · `chosen` (C, K), which one.

    Args:
        classes: C.
        slots: K.
        pool: M.
        sharpness: σ to start with.
    """

    sharpness: Tensor
    hard: Tensor
    chosen: Tensor

    def __init__(self, classes: int, slots: int, pool: int, sharpness: float) -> None:
        super().__init__()
        self.affinity = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, slots, pool)))
        self.register_buffer("sharpness", torch.tensor(float(sharpness)))
        self.register_buffer("hard", torch.tensor(False))
        self.register_buffer("chosen", torch.zeros(classes, slots, dtype=torch.int64))

    def distributions(self) -> Tensor:
        """(C, K, M) distribution of each slot, without noise; one-hot once the assignment is hard."""
        return self._one_hot_if_hard((self.sharpness * at_least_fp32(self.affinity) / TEMPERATURE).softmax(2))

    def sample(self) -> Tensor:
        """(C, K, M) distribution of each slot, in training with Gumbel noise."""
        if not self.training:
            return self.distributions()
        return self._one_hot_if_hard(
            F.gumbel_softmax(self.sharpness * at_least_fp32(self.affinity), TEMPERATURE, dim=2)
        )

    def _one_hot_if_hard(self, soft: Tensor) -> Tensor:
        return torch.where(self.hard, F.one_hot(self.chosen, soft.shape[2]).to(soft), soft)

    def users(self) -> Tensor:
        """(C, M) bool, which class uses which prototypes: the K most probable, or those of its hard slots."""
        classes, slots, pool = self.affinity.shape
        likeliest = self.distributions().detach().sum(1).topk(slots).indices
        used = torch.where(self.hard, self.chosen, likeliest)
        return torch.zeros(classes, pool, dtype=torch.bool, device=used.device).scatter(1, used, True)

    @torch.no_grad()
    def harden(self) -> Tensor:
        """Gives each slot its most probable prototype for good; returns `users`."""
        self.chosen.copy_(self.affinity.argmax(2))
        self.hard.fill_(True)
        return self.users()


def sharpness_at(epoch: int, epochs: int, limit: float) -> float:
    """σ in an epoch, counted from 0: grows as the square root of time, to `limit` in the last of `epochs` and after."""
    return limit * min((epoch + 1) / epochs, 1.0) ** 0.5


def overlap(distributions: Tensor) -> Tensor:
    """Mean over slots of the sum of the cosines with the other slots of their class; 0 if none share a prototype.

    Args:
        distributions: (C, K, M).
    """
    unit = F.normalize(distributions, dim=2)
    return (unit.sum(1).square().sum(1) - unit.square().sum((1, 2))).mean() / distributions.shape[1]
