"""M12: does each unit correspond to one part?"""

import torch
from torch import Tensor

from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.mask_out import strong
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case

TOP = 0.9  # quantile of a unit's activations above which it fires
HELD = 0.5  # share of a region that a support must contain
PURE = 0.8  # purity of a consistent unit


class UnitPurity(FaithfulnessMetric):
    """How often the strongest activations of a unit lie on the same annotated part.

    For each unit that is among the fewest that hold 90 % of the contributions of some sample, over the samples where
    its activation exceeds its own 90th percentile: the share in which its support (elements of at least half of the
    maximum) contains at least half of part p. The purity of a unit is the largest share over the parts. After Nauta et
    al., CVPR 2023 (PIP-Net), section 4, but over typical activations instead of the ten largest.

        purity       mean over units
        consistency  share of units with a purity of at least 0.8
        lift         purity minus that of the same supports shifted in the input; 0 by chance
        parts        number of different parts of the consistent units

    A row is a unit, so intervals are over units.
    """

    key, title = "M12", "unit purity"
    columns = (
        Column("purity", 1, None, 1.0),
        Column("consistency", 1, None, 1.0),
        Column("lift", 1, 0.0),
        Column("parts", 1),
    )
    needs = ("units", "support", "regions")

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def per_sample(self, case: Case) -> Tensor:
        """(B, K, 4): activation, whether the unit counts, and bit sets of the parts in the support and in its shift."""
        if case.regions is None:
            raise ValueError(f"{self.title} needs ground-truth regions, Case(regions=...).")
        regions = (case.regions > 0) & case.present[:, None]
        if regions.shape[1] > 31:
            raise ValueError(f"{self.title} supports at most 31 parts; got {regions.shape[1]}.")
        support = strong(case.supports)
        shift = uniform(case.ids, 1, self.seed, "elsewhere")[:, 0]
        size = regions.shape[2]
        index = (torch.arange(size, device=case.x.device) + (shift * size).long()[:, None]) % size
        moved = regions.gather(2, index[:, None].expand_as(regions))  # equivalent to a shift of the supports
        used = smallest_cover(case.weight.abs())
        bits = [self.held(case, support, part).double() for part in (regions, moved)]
        return torch.stack([case.explanation.activation.double(), used.double(), *bits], 2)

    def held(self, case: Case, support: Tensor, regions: Tensor) -> Tensor:
        """(B, K) int64: bit p is set if a support contains enough of part p."""
        inside = torch.einsum("bkg,bpg->bkp", support.float(), case.gather(regions).float())
        size = regions.sum(2)[:, None]
        return (((inside >= HELD * size) & (size > 0)) << torch.arange(regions.shape[1], device=size.device)).sum(2)

    def samples(self) -> Tensor:
        """(U, 4) for each used unit: purity, whether it is consistent, lift, and the number of its part."""
        values = super().samples()
        if values.ndim < 3:
            return values
        activation, used, original, shifted = values.unbind(2)
        counted = used.any(0)
        limit = activation.quantile(TOP, dim=0) if activation.numel() < 2**24 else _quantile(activation)
        fires = (activation >= limit)[:, counted]
        shares = [self.share(bits[:, counted].long(), fires) for bits in (original, shifted)]
        purity, part = shares[0].max(1)
        lift = purity - shares[1].amax(1)
        return torch.stack([purity, (purity >= PURE).double(), lift, torch.where(purity >= PURE, part, -1).double()], 1)

    @staticmethod
    def share(bits: Tensor, fires: Tensor) -> Tensor:
        """(U, P) the share of the rows where a unit fires in which its support contains each part."""
        parts = max(int(bits.max()).bit_length(), 1) if bits.numel() else 1
        each = [((bits >> p & 1) * fires).sum(0) for p in range(parts)]
        return torch.stack(each, 1) / fires.sum(0)[:, None].clamp_min(1)

    def summarise(self, rows: Tensor) -> Tensor:
        means = rows[..., :3].nanmean(-2)
        parts = torch.arange(31, dtype=rows.dtype, device=rows.device)
        different = (rows[..., 3:] == parts).any(-2).sum(-1, keepdim=True)
        return torch.cat([means, different.to(means)], -1)

    def undefined(self) -> dict[str, int]:
        """0 for every column, because every used unit has a purity."""
        return dict.fromkeys(self.names, 0)


def _quantile(activation: Tensor) -> Tensor:
    """(K,) the quantile of each column; `torch.quantile` is limited to 2**24 elements."""
    return torch.stack([column.quantile(TOP) for column in activation.unbind(1)])
