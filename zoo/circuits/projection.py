"""The projection of weights to few non-zeros: each matrix keeps exactly its k largest magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """How many entries of a matrix stay.

    Attributes:
        keep: non-zeros in all.
        alive: the least that every neuron keeps, the largest of its own.
        axis: the neurons' axis: 0 if they are rows, 1 if they are columns.
    """

    keep: int
    alive: int = 0
    axis: int = 0


class Projector:
    """Projects matrices in place, step after step.

    Args:
        weights: the matrices (m, n), each on one device.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = list(weights)

    @torch.no_grad()
    def __call__(self, budgets: Sequence[Budget]) -> None:
        """Leaves exactly `keep` entries in each matrix; ties go to the lowest index."""
        for weight, budget in zip(self.weights, budgets, strict=True):
            size = weight.abs()
            if budget.alive:
                best = size.topk(budget.alive, dim=1 - budget.axis).indices
                size.scatter_(1 - budget.axis, best, torch.inf)
            order = size.flatten().sort(descending=True, stable=True).indices
            weight.view(-1)[order[budget.keep :]] = 0
