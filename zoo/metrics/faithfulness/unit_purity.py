"""M12: does each unit stand for one thing?"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.mask_out import strong
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case

TOP = 0.9  # a unit counts where it fires above this quantile of its own activations
HELD = 0.5  # a region counts as seen if the support holds this share of it
PURE = 0.8


class UnitPurity(FaithfulnessMetric):
    """How often the strongest activations of a unit lie on one and the same known part.

    For every unit that is among those that hold nine tenths of the contributions of some sample, over the samples where
    it fires above its own 90th percentile: the share in which its support (elements at least half as strong as its
    maximum) holds half of part p or more. A unit's purity is the largest share over the parts; after Nauta et al.,
    CVPR 2023 (PIP-Net), section 4, over typical instead of the ten best activations.

        purity       mean over units
        consistency  share of units with a purity of 0.8 or more
        lift         purity less that of the same supports moved elsewhere in the input; 0 by chance
        parts        how many different parts the consistent units stand for

    One row is one unit here, so intervals are over units.
    """

    key, title = "M12", "unit purity"
    names, directions = ("purity", "consistency", "lift", "parts"), (1, 1, 1, 1)
    chances, ideals = (None, None, 0.0, None), (1.0, 1.0, None, None)
    needs = ("support", "truth")

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def measure(self, case: Case) -> Tensor:
        """(B, K, 4): activation, whether the unit counts, and as bits the parts in its support and in it elsewhere."""
        if case.truth is None:
            raise ValueError(f"{self.title} needs the elements that matter, Case(truth=...).")
        regions = (case.truth > 0) & case.present[:, None]
        if regions.shape[1] > 31:
            raise ValueError(f"{self.title} is for at most 31 parts; got {regions.shape[1]}.")
        place = strong(case.place)
        shift = uniform(case.ids, 1, self.seed, "elsewhere")[:, 0]
        size = regions.shape[2]
        index = (torch.arange(size, device=case.x.device) + (shift * size).long()[:, None]) % size
        moved = regions.gather(2, index[:, None].expand_as(regions))  # as good as to move the supports
        used = covering(case.weight.abs())
        bits = [self.held(case, place, part).double() for part in (regions, moved)]
        return torch.stack([case.explanation.activation.double(), used.double(), *bits], 2)

    def held(self, case: Case, place: Tensor, regions: Tensor) -> Tensor:
        """(B, K) int64: bit p is set where a support holds enough of part p."""
        inside = torch.einsum("bkg,bpg->bkp", place.float(), case.gather(regions).float())
        whole = regions.sum(2)[:, None]
        return (((inside >= HELD * whole) & (whole > 0)) << torch.arange(regions.shape[1], device=whole.device)).sum(2)

    def samples(self) -> Tensor:
        """(U, 4) of each unit in use: its purity, whether it is consistent, its lift, and the number of its part."""
        told = super().samples()
        if told.ndim < 3:
            return told
        activation, used, true, moved = told.unbind(2)
        counted = used.any(0)
        limit = activation.quantile(TOP, dim=0) if activation.numel() < 2**24 else _quantile(activation)
        fires = (activation >= limit)[:, counted]
        shares = [self.share(bits[:, counted].long(), fires) for bits in (true, moved)]
        purity, part = shares[0].max(1)
        lift = purity - shares[1].amax(1)
        return torch.stack([purity, (purity >= PURE).double(), lift, torch.where(purity >= PURE, part, -1).double()], 1)

    @staticmethod
    def share(bits: Tensor, fires: Tensor) -> Tensor:
        """(U, P) of the rows in which a unit fires, the share in which its support holds each part."""
        parts = max(int(bits.max()).bit_length(), 1) if bits.numel() else 1
        each = [((bits >> p & 1) * fires).sum(0) for p in range(parts)]
        return torch.stack(each, 1) / fires.sum(0)[:, None].clamp_min(1)

    def summarise(self, rows: Tensor) -> Tensor:
        means = rows[..., :3].nanmean(-2)
        parts = torch.arange(31, dtype=rows.dtype, device=rows.device)
        different = (rows[..., 3:] == parts).any(-2).sum(-1, keepdim=True)
        return torch.cat([means, different.to(means)], -1)

    def undefined(self) -> dict[str, int]:
        """None: units in use all have a purity."""
        return dict.fromkeys(self.names, 0)


def _quantile(activation: Tensor) -> Tensor:
    """(K,) the quantile column by column, where torch cannot take it of all at once."""
    return torch.stack([column.quantile(TOP) for column in activation.unbind(1)])
