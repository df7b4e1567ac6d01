"""Size of explanations: how many units do they have?"""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.cover import smallest_cover


class ExplanationSize(Metric):
    """The number of units in an explanation, and the number of units used in any explanation.

        local    fewest units that hold `cover` of the absolute contributions, averaged over inputs
        nonzero  number of units with a non-zero contribution, averaged over inputs
        global   number of units that are among the local ones of any input

    Nauta et al., "PIP-Net", CVPR 2023, section 4, report "nonzero" (as local size), and as global size the number of
    units with a non-zero weight.

    Args:
        units: K.
        cover: in (0, 1].
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "size of explanations"
    chance: ClassVar[float | None] = None
    used: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, units: int, cover: float = 0.95) -> None:
        super().__init__()
        if not 0 < cover <= 1:
            raise ValueError(f"cover must be in (0, 1]; got {cover}.")
        self.cover = cover
        self.add_state("used", torch.zeros(units, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, contributions: Tensor) -> None:
        """Adds contributions (B, K)."""
        needed = smallest_cover(contributions.abs(), self.cover)
        self.used += needed.sum(0)
        self.total += torch.stack([needed.sum(1), (contributions != 0).sum(1)], 1).double().sum(0)
        self.count += len(contributions)

    def compute(self) -> dict[str, Tensor]:
        local, nonzero = self.total / self.count
        return {"local": local, "nonzero": nonzero, "global": (self.used > 0).sum()}
