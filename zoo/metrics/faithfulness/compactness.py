"""M6: how much is there to look at?"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.subject import Case


class Compactness(FaithfulnessMetric):
    """How many units a person must look at, and how large they are; never to be shown apart.

    With p = |contribution| / sum of |contributions|:

        effective units   exp(-sum p ln p): 1 of a single unit, K of K equal ones
        participation     1 / sum p², which weighs the tail less
        n90               the fewest units that hold nine tenths of sum |contributions|
        area              mean share of the input that the supports of these units cover, where units have a place

    `units_used` counts those that are among the n90 of any sample. A black box in one unit has one effective unit, so
    read it beside the area. For scores that are no sums, of what the explanation ranks by.
    """

    key, title = "M6", "compactness"
    names, directions = ("effective units", "participation", "n90", "area"), (-1, -1, -1, -1)
    chances = (None, None, None, None)
    used: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("used", [], dist_reduce_fx="cat")

    def measure(self, case: Case) -> Tensor:
        weight = case.weight.double().abs()
        top = covering(weight)
        self.used.append(top.any(0, keepdim=True))
        total = weight.sum(1, keepdim=True)
        share = weight / total.clamp_min(1e-300)
        columns = [
            torch.xlogy(share, share).sum(1).neg().exp(),
            1 / share.square().sum(1).clamp_min(1e-300),
            top.sum(1),
        ]
        area = torch.full_like(total[:, 0], torch.nan)
        if case.explanation.support is not None:
            each = case.mass / case.present.sum(1, keepdim=True)
            area = (each * top).sum(1) / top.sum(1)
        return torch.stack([*(c.double() for c in columns), area.double()], 1).masked_fill(total == 0, torch.nan)

    def units_used(self) -> int:
        """How many units are among the n90 of any sample."""
        used = torch.cat(self.used) if isinstance(self.used, list) else self.used
        return int(used.any(0).sum())
