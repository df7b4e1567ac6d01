"""M2: does the score change as the explanation predicts when random parts of the input are removed?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric, spearman
from zoo.metrics.faithfulness.elements import random_masks
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.subject import Case

SLOPE = Column("slope", 0, None, 1.0)


class MaskOutAgreement(FaithfulnessMetric):
    """The change of the score that the explanation predicts for a removal, against the change of the model.

    Masks m are drawn independently of the model. With the contributions Z to the target's centred score (the score
    minus the mean of all scores), their values Z⁰ for the blank input, and the share ρ of a unit's support in m:

        predicted   e = sum over units of (Z - Z⁰) ρ(m)
        measured    d = centred score of x - centred score of x without m

        rank correlation   Spearman's, of e and d over the masks, 0 if either is constant; 1 is ideal
        slope              of the regression of d on e through 0; 1 is ideal
        agreement          1 - sum |d - e| / sum (|d| + |e|), in [0, 1]; 1 is ideal

    Each is a mean over the imputers and over samples, except the slope, which is the median over samples. The rank
    correlation is also reported for each imputer, and for masks that are the supports of the units of largest
    contribution ("own supports": elements where the support is at least half of its maximum), which is easier by
    construction.

    Args:
        imputers: replacements for removed elements; use several, because every choice is debatable.
        masks: number of masks per sample.
        shares: shares of the elements that masks remove in turn.
        own: number of units whose supports serve as masks.
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
        kinds = (*(imputer.name for imputer in imputers), "own supports")
        statistics = (Column("rank correlation", 1, 0.0, 1.0), SLOPE, Column("agreement", 1, None, 1.0))
        self.columns = (*statistics, *(Column(f"rank correlation, {kind}", 1, 0.0, 1.0) for kind in kinds))

    def summarise(self, rows: Tensor) -> Tensor:
        means, slope = super().summarise(rows), self.columns.index(SLOPE)
        means[..., slope] = rows[..., slope].nanmedian(-1).values if rows.shape[-2] else torch.nan
        return means

    def per_sample(self, case: Case) -> Tensor:
        masks = random_masks(case.x, case.ids, case.domain, self.shares, self.masks, self.seed)
        owned = own_supports(case, self.own)
        effect = (case.margins - case.blank_margins).double()
        predicted, predicted_own = (
            torch.einsum("bnk,bk->bn", case.covered(m).double(), effect) for m in (masks, owned)
        )
        each, own = [], []
        for imputer in self.imputers:
            drops = case.drops(case.scores_without(torch.cat([masks, owned], 1), imputer))
            each.append(agreement(predicted, drops[:, : self.masks]))
            own.append(spearman(predicted_own, drops[:, self.masks :]))
        table = torch.stack(each, 1)  # (B, imputers, statistics)
        return torch.cat([table.mean(1), table[..., 0], torch.stack(own, 1).mean(1, keepdim=True)], 1)


def agreement(predicted: Tensor, measured: Tensor) -> Tensor:
    """(B, 3) rank correlation, slope and agreement of predicted and measured changes (B, n)."""
    square = predicted.square().sum(1)
    slope = torch.where(square > 0, (predicted * measured).sum(1) / square, torch.nan)
    size = (predicted.abs() + measured.abs()).sum(1)
    overlap = torch.where(size > 0, 1 - (measured - predicted).abs().sum(1) / size, torch.nan)
    return torch.stack([spearman(predicted, measured), slope, overlap], 1)


def own_supports(case: Case, count: int) -> Tensor:
    """(B, n, N) bool: the elements where the supports of the n units of largest weight exceed half of their maximum.

    Empty for units that are not among the fewest that hold 90 % of the weight.
    """
    weight = case.weight.abs()
    count = min(count, weight.shape[1])
    top = weight.topk(count, 1).indices
    support = case.supports.gather(1, top[..., None].expand(-1, -1, case.supports.shape[2]))
    counted = smallest_cover(weight).gather(1, top)
    return strong(support)[..., case.cells] & counted[..., None] & case.present[:, None]


def strong(support: Tensor) -> Tensor:
    """(B, K, G) bool: the cells where supports (B, K, G) are at least half of their maximum."""
    return (support >= 0.5 * support.amax(2, keepdim=True)) & (support > 0)
