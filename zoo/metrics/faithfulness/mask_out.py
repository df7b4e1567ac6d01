"""M2: does the score change as the explanation says, when parts of the input are removed that nobody chose?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering, spearman
from zoo.metrics.faithfulness.elements import random_masks
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.subject import Case

STATISTICS = ("rank correlation", "slope", "agreement")


class MaskOutAgreement(FaithfulnessMetric):
    """What the explanation predicts of a removal, against what the whole model then does.

    Masks m are drawn without looking at the model. With the contributions Z to the target's centred score (its
    difference to the mean of all), their values Z⁰ for the blank input, and the share ρ of a unit's support in m:

        predicted   e = sum over units of (Z - Z⁰) ρ(m)
        measured    d = centred score of x - centred score of x without m

        rank correlation   Spearman's of e and d over the masks, 0 if either is constant; 1 is ideal
        slope              of d on e through 0; 1 is ideal
        agreement          1 - sum |d - e| / sum (|d| + |e|), in [0, 1]; 1 is ideal

    Each is a mean over the imputers and over samples; of the slope it is the median over samples. The rank correlation
    is there for each imputer too, and for masks that are the supports of the units of largest contribution ("own
    supports": elements where the support is at least half of its maximum), which is easy to satisfy by construction.

    Args:
        imputers: what stands in for removed elements; several, as none is without an argument.
        masks: how many a sample.
        shares: of the elements that masks remove, in turn.
        own: how many of the units lend their supports.
        seed: of the masks.
    """

    key, title = "M2", "mask-out agreement"
    needs = ("additive", "support")

    def __init__(
        self,
        imputers: Sequence[Imputer],
        masks: int = 32,
        shares: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2),
        own: int = 6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.imputers, self.masks, self.shares, self.own, self.seed = tuple(imputers), masks, shares, own, seed
        each = tuple(f"{STATISTICS[0]}, {imputer.name}" for imputer in imputers)
        self.names = (*STATISTICS, *each, f"{STATISTICS[0]}, own supports")
        self.directions, self.chances = (1, 0, *[1] * (2 + len(each))), (0.0, None, None, *[0.0] * (1 + len(each)))
        self.ideals = (1.0,) * len(self.names)

    def summarise(self, rows: Tensor) -> Tensor:
        means, slope = super().summarise(rows), STATISTICS.index("slope")
        means[..., slope] = rows[..., slope].nanmedian(-1).values if rows.shape[-2] else torch.nan
        return means

    def measure(self, case: Case) -> Tensor:
        masks = random_masks(case.x, case.ids, case.domain, self.shares, self.masks, self.seed)
        owned = own_supports(case, self.own)
        effect = (case.margins - case.absent).double()
        predicted, claimed = (torch.einsum("bnk,bk->bn", case.covered(m).double(), effect) for m in (masks, owned))
        each, own = [], []
        for imputer in self.imputers:
            drops = case.drops(case.scores_without(torch.cat([masks, owned], 1), imputer))
            each.append(agreement(predicted, drops[:, : self.masks]))
            own.append(spearman(claimed, drops[:, self.masks :]))
        table = torch.stack(each, 1)  # (B, imputers, statistics)
        return torch.cat([table.mean(1), table[..., 0], torch.stack(own, 1).mean(1, keepdim=True)], 1)


def agreement(predicted: Tensor, measured: Tensor) -> Tensor:
    """(B, 3) the statistics of predicted and measured changes (B, n)."""
    square = predicted.square().sum(1)
    slope = torch.where(square > 0, (predicted * measured).sum(1) / square, torch.nan)
    size = (predicted.abs() + measured.abs()).sum(1)
    overlap = torch.where(size > 0, 1 - (measured - predicted).abs().sum(1) / size, torch.nan)
    return torch.stack([spearman(predicted, measured), slope, overlap], 1)


def own_supports(case: Case, count: int) -> Tensor:
    """(B, n, N) bool: where the supports of the n units of largest weight are at least half of their maximum.

    Empty for units beyond those that hold nine tenths of all weight.
    """
    weight = case.weight.abs()
    count = min(count, weight.shape[1])
    top = weight.topk(count, 1).indices
    place = case.place.gather(1, top[..., None].expand(-1, -1, case.place.shape[2]))
    counted = covering(weight).gather(1, top)
    return strong(place)[..., case.cells] & counted[..., None] & case.present[:, None]


def strong(place: Tensor) -> Tensor:
    """(B, K, G) bool: where supports (B, K, G) are at least half of their maximum."""
    return (place >= 0.5 * place.amax(2, keepdim=True)) & (place > 0)
