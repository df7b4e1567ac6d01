"""M4: is the evidence sufficient for the prediction, and necessary?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case


class KeepOnlySufficiency(FaithfulnessMetric):
    """Whether the prediction stays with its evidence alone and changes without it, compared to regions of equal shape.

    The evidence P is the fewest elements that hold 90 % of the positive contributions spread over the input.

        kept      share of samples whose prediction stays if all elements but P are imputed, minus the same for P
                  shifted by a random distance
        flipped   share of samples whose prediction changes if P is imputed, minus the same for P shifted
        area      share of the input that P covers; both scores are easy to reach if P is nearly everything

    Means over the imputers. 0 is chance, because the shifted set (with wrap-around) has the same area and shape.

    Args:
        imputers: replacements for removed elements.
        shifts: number of shifts to compare with.
        seed: of the shifts.
    """

    key, title = "M4", "keep-only sufficiency"
    columns = (Column("kept", 1, 0.0), Column("flipped", 1, 0.0), Column("area", -1))
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer], shifts: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.imputers, self.shifts, self.seed = tuple(imputers), shifts, seed

    def per_sample(self, case: Case) -> Tensor:
        chosen = smallest_cover(case.evidence_map)
        sets = torch.stack([chosen, *(shifted(chosen, case, i, self.seed) for i in range(self.shifts))], 1)
        masks = torch.cat([~sets & case.present[:, None], sets], 1)
        gains = []
        for imputer in self.imputers:
            same = case.scores_without(masks, imputer).argmax(2) == case.target[:, None]
            kept, removed = same.double().split(sets.shape[1], 1)
            gains.append(torch.stack([_above_mean(kept), _above_mean(1 - removed)], 1))
        share = chosen.sum(1) / case.present.sum(1)
        values = torch.cat([torch.stack(gains).mean(0), share[:, None]], 1)
        return values.masked_fill(~chosen.any(1, keepdim=True), torch.nan)


def shifted(chosen: Tensor, case: Case, number: int, seed: int) -> Tensor:
    """(B, N) a set shifted by a random distance along every axis, with wrap-around within the present elements."""
    draw = uniform(case.ids, len(case.shape), seed, f"elsewhere {number}")
    count = case.present.sum(1)
    index = torch.zeros(len(case), *case.shape, dtype=torch.long, device=chosen.device)
    for axis, size in enumerate(case.shape):
        length = count if len(case.shape) == 1 else torch.full_like(count, size)
        place = torch.arange(size, device=chosen.device)
        moved = (place + (draw[:, axis, None] * length[:, None]).long()) % length[:, None]
        moved = torch.where(place < length[:, None], moved, place)
        index = index * size + moved.view(len(case), *[-1 if a == axis else 1 for a in range(len(case.shape))])
    return chosen.gather(1, index.flatten(1))


def _above_mean(values: Tensor) -> Tensor:
    """(B,) the first column minus the mean of the others."""
    return values[:, 0] - values[:, 1:].mean(1)
