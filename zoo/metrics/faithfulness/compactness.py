"""M6: how many units, and how much of the input, make up an explanation?"""

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.subject import Case


class Compactness(FaithfulnessMetric):
    """The number and the area of the units that matter; report both together.

    With p = |contribution| / sum of |contributions|, relative to the reference that the model declares:

        effective units   exp(-sum p ln p): 1 for a single unit, K for K equal ones
        participation     1 / sum p², which gives less weight to the tail
        n90               the fewest units that hold 90 % of sum |contributions|
        area              mean share of the input that the supports of these units cover, if units have supports

    `units_used` counts the units that belong to the n90 of any sample. A black box written as one unit has one
    effective unit, so the area must be read beside it. For models that are not additive, `Explanation.importance`
    replaces the contributions.
    """

    key, title = "M6", "compactness"
    columns = (Column("effective units", -1), Column("participation", -1), Column("n90", -1), Column("area", -1))
    used: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("used", [], dist_reduce_fx="cat")

    def per_sample(self, case: Case) -> Tensor:
        weight = case.weight.double().abs()
        top = smallest_cover(weight)
        self.used.append(top.any(0, keepdim=True))
        total = weight.sum(1, keepdim=True)
        share = weight / total.clamp_min(1e-300)
        area = torch.full_like(total[:, 0], torch.nan)
        if case.explanation.support is not None:
            each = case.mass / case.present.sum(1, keepdim=True)
            area = ((each * top).sum(1) / top.sum(1)).double()
        values = [
            torch.xlogy(share, share).sum(1).neg().exp(),
            1 / share.square().sum(1).clamp_min(1e-300),
            top.sum(1).double(),
            area,
        ]
        return torch.stack(values, 1).masked_fill(total == 0, torch.nan)

    def units_used(self) -> int:
        """The number of units that belong to the n90 of any sample."""
        return int(dim_zero_cat(self.used).any(0).sum())
