"""M4: is the evidence enough for the prediction, and is it needed?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case


class KeepOnlySufficiency(FaithfulnessMetric):
    """Whether the prediction survives on its evidence alone, and falls without it, above regions of the same shape.

    The evidence P is the fewest elements that hold nine tenths of the positive contributions laid out over the input.

        kept      share of samples whose prediction stays when all but P is imputed, less the same for P moved elsewhere
        flipped   share of samples whose prediction changes when P is imputed, less the same for P moved elsewhere
        area      of P, as a share of the input: both are easy for a P that is nearly everything

    Means over the imputers; 0 is chance, as the set moved elsewhere (by a random shift, around the borders) has the
    same area and shape.

    Args:
        imputers: what stands in for removed elements.
        moved: how many shifts to compare with.
        seed: of the shifts.
    """

    key, title = "M4", "keep-only sufficiency"
    names, directions, chances = ("kept", "flipped", "area"), (1, 1, -1), (0.0, 0.0, None)
    needs = ("support", "classes")

    def __init__(self, imputers: Sequence[Imputer], moved: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.imputers, self.moved, self.seed = tuple(imputers), moved, seed

    def measure(self, case: Case) -> Tensor:
        chosen = covering(case.evidence_map)
        sets = torch.stack([chosen, *(elsewhere(chosen, case, i, self.seed) for i in range(self.moved))], 1)
        masks = torch.cat([~sets & case.present[:, None], sets], 1)
        gains = []
        for imputer in self.imputers:
            same = case.scores_without(masks, imputer).argmax(2) == case.target[:, None]
            kept, left = same.double().split(sets.shape[1], 1)
            gains.append(torch.stack([_beyond(kept), _beyond(1 - left)], 1))
        share = chosen.sum(1) / case.present.sum(1)
        values = torch.cat([torch.stack(gains).mean(0), share[:, None]], 1)
        return values.masked_fill(~chosen.any(1, keepdim=True), torch.nan)


def elsewhere(chosen: Tensor, case: Case, number: int, seed: int) -> Tensor:
    """(B, N) a set shifted by a random distance along every axis, around the borders of what is present."""
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


def _beyond(values: Tensor) -> Tensor:
    """(B,) the first column above the mean of the others."""
    return values[:, 0] - values[:, 1:].mean(1)
