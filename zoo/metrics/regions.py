"""How well groups of elements agree with regions that are known to matter."""

import torch
from torch import Tensor
from torchmetrics import Metric

DRAWS = 8  # of random groups


class RegionAgreement(Metric):
    """Agreement of groups with true regions, each value beside what random groups of the same sizes reach.

    Groups count by their share of the absolute contributions. A group without elements counts as random.

        precision   share of a group's elements that lie in a region
        purity      1 - H(precision) in bits: 1 if a group lies wholly in, or wholly out of, the regions
                    (You et al., ICML 2025, section 5)
        single      of a group's elements in regions, the share that is in one of them: 1 if it mixes no two
        coverage    share of the regions' elements that some contributing group holds
        f1          of the union of contributing groups as a guess of the regions

    `compute` returns them by name, and under the same names with "chance " before.
    """

    full_state_update = False

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.add_state("total", torch.zeros(2, len(NAMES), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, masks: Tensor, contributions: Tensor, regions: Tensor) -> None:
        """Adds a batch.

        Args:
            masks: (B, M, L) in {0, 1}, the elements of each group.
            contributions: (B, M), or any other weight of a group.
            regions: (B, R, L) in [0, 1], how much of each element lies in each region; of inputs without any, the
                batch's row does not count.

        Raises:
            ValueError: shapes that do not fit.
        """
        if masks.ndim != 3 or regions.ndim != 3 or contributions.shape != masks.shape[:2]:
            raise ValueError(
                "expected masks (B, M, L), contributions (B, M) and regions (B, R, L); got "
                f"{tuple(masks.shape)}, {tuple(contributions.shape)} and {tuple(regions.shape)}."
            )
        if masks.shape[0] != regions.shape[0] or masks.shape[2] != regions.shape[2]:
            raise ValueError(
                f"masks and regions must be of the same inputs and elements; got {tuple(masks.shape)} and "
                f"{tuple(regions.shape)}."
            )
        known = regions.flatten(1).any(1)
        masks, regions, contributions = masks[known].double(), regions[known].double(), contributions[known].double()
        if not len(masks):
            return
        weight = contributions.abs()
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        draw = torch.Generator(masks.device).manual_seed(self.seed)
        order = torch.rand(DRAWS, *masks.shape, generator=draw, device=masks.device, dtype=masks.dtype).argsort(3)
        random = torch.stack([agreement(masks.gather(2, o), weight, regions) for o in order]).mean(0)
        self.total += torch.stack([agreement(masks, weight, regions), random])
        self.count += len(masks)

    def compute(self) -> dict[str, Tensor]:
        mean = self.total / self.count
        return {prefix + name: mean[i, j] for i, prefix in enumerate(("", "chance ")) for j, name in enumerate(NAMES)}


NAMES = ("precision", "purity", "single", "coverage", "f1")


def agreement(masks: Tensor, weight: Tensor, regions: Tensor) -> Tensor:
    """The values of `NAMES` (5,), summed over a batch, of masks (B, M, L), weights (B, M) and regions (B, R, L)."""
    union = regions.amax(1)  # (B, L)
    size = masks.sum(2).clamp_min(1)
    inside = torch.einsum("bml,bl->bm", masks, union) / size
    each = torch.einsum("bml,brl->bmr", masks, regions)
    single = each.amax(2) / each.sum(2).clamp_min(1e-12)
    touching = each.sum(2) > 0
    p = inside.clamp(1e-12, 1 - 1e-12)
    purity = 1 + (p * p.log2() + (1 - p) * (1 - p).log2())
    held = (masks * (weight > 0)[..., None]).amax(1)  # (B, L)
    hit = (held * union).sum(1)
    coverage = hit / union.sum(1)
    precision = hit / held.sum(1).clamp_min(1e-12)
    f1 = 2 * coverage * precision / (coverage + precision).clamp_min(1e-12)
    share = weight * touching
    mixed = (single * share).sum(1) / share.sum(1).clamp_min(1e-12)
    return torch.stack([(inside * weight).sum(), (purity * weight).sum(), mixed.sum(), coverage.sum(), f1.sum()])
