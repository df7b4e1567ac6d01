"""How well explanations agree with regions that are known to matter: groups of elements, and values of each element."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

DRAWS = 8  # of random groups, where chance has no closed form
GROUPS = ("precision", "purity", "single", "coverage", "f1", "iou")
VALUES = ("auprc", "f1")


class Agreement(Metric):
    """The base of agreements with regions: means over inputs, each beside what chance reaches.

    `compute` returns them by name, and under the same names with "chance " before; NaN before any input counted.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    chance: ClassVar[float | None] = None
    names: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> dict[str, Tensor]:
        mean, ways = self.total / self.count, ("", "chance ")
        return {prefix + name: mean[i, j] for i, prefix in enumerate(ways) for j, name in enumerate(self.names)}


class RegionAgreement(Agreement):
    """Agreement of groups with true regions, each value beside what random groups of the same sizes reach.

    Groups count by their share of the absolute contributions, those without elements not at all; an input whose groups
    contribute nothing counts as 0.

        precision   share of a group's elements that lie in a region
        purity      1 - H(precision) in bits: 1 if a group lies wholly in, or wholly out of, the regions
                    (You et al., ICML 2025, section 5)
        single      of a group's elements in regions, the share that is in one of them: 1 if it mixes no two
        coverage    share of the regions' elements that some contributing group holds
        f1          of the union of contributing groups as a guess of the regions
        iou         of the same: intersection over union

    Chance is exact for precision and coverage, and a mean over seeded draws for the others.

    Args:
        seed: of the random groups.
    """

    title: ClassVar[str] = "agreement of groups with regions"
    names: ClassVar[tuple[str, ...]] = GROUPS

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def update(self, masks: Tensor, contributions: Tensor, regions: Tensor, present: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            masks: (B, M, L) in {0, 1}, the elements of each group.
            contributions: (B, M), or any other weight of a group.
            regions: (B, R, L) in [0, 1], how much of each element lies in each region; of inputs without any, the
                batch's row does not count.
            present: (B, L) bool, the elements that there are, such as the words of a text without its padding; all by
                default. Random groups hold no others.

        Raises:
            ValueError: shapes that do not fit.
        """
        if masks.ndim != 3 or contributions.shape != masks.shape[:2]:
            raise ValueError(
                "expected masks (B, M, L) and contributions (B, M); got "
                f"{tuple(masks.shape)} and {tuple(contributions.shape)}."
            )
        truth, known, present = known_regions(masks[:, 0], regions, present)
        masks = masks[known].bool() & present[:, None]
        weight = contributions[known].double().abs() * masks.any(2)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        draw = torch.Generator(masks.device).manual_seed(self.seed + self.update_count)  # other groups in each batch
        sizes = masks.sum(2)
        drawn = sum(agreement(random_groups(sizes, present, draw), weight, truth) for _ in range(DRAWS)) / DRAWS
        elements = present.sum(1).double()
        missed = (1 - sizes * (weight > 0) / elements[:, None]).prod(1)  # chance that no group holds an element
        drawn[:, GROUPS.index("precision")] = truth.amax(1).sum(1) / elements * weight.sum(1)
        drawn[:, GROUPS.index("coverage")] = 1 - missed
        self.total += torch.stack([agreement(masks, weight, truth).sum(0), drawn.sum(0)])
        self.count += len(masks)


class AttributionAgreement(Agreement):
    """Agreement of a value for each element with true regions, each beside what a random order of elements reaches.

        auprc   area under the curve of precision over recall, as the average precision
        f1      of the highest elements as a guess of the regions

    Elements of equal value are in no order: f1 is its mean over all orders, and auprc has one threshold for them.
    Chance is exact. For texts these are the measures of plausibility of DeYoung et al.: "ERASER: A Benchmark to
    Evaluate Rationalized NLP Models", ACL 2020, averaged over texts.

    Args:
        share: of the elements that there are, to guess for f1, in (0, 1]; by default as many as lie in the regions.

    Raises:
        ValueError: a share that is none.
    """

    title: ClassVar[str] = "agreement of attributions with regions"
    names: ClassVar[tuple[str, ...]] = VALUES

    def __init__(self, share: float | None = None) -> None:
        super().__init__()
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], or None for as many elements as the regions have; got {share}.")
        self.share = share

    def update(self, attribution: Tensor, regions: Tensor, present: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            attribution: (B, L), higher for elements that matter more; give absolute values where the sign says only
                for which class an element speaks.
            regions: (B, R, L) in [0, 1]; an element is in a region if more than half of it is. Of inputs without any
                such element, the batch's row does not count.
            present: (B, L) bool, the elements that there are; all by default.

        Raises:
            ValueError: shapes that do not fit, or values that are not finite.
        """
        if attribution.ndim != 2:
            raise ValueError(f"expected an attribution (B, L); got {tuple(attribution.shape)}.")
        if not attribution.isfinite().all():
            raise ValueError("the attribution has values that are not finite; give 0 to elements without a value.")
        truth, known, present = known_regions(attribution, (regions > 0.5).double(), present)
        wanted, elements = truth.amax(1), present.sum(1).double()
        size = wanted.sum(1)
        guessed = size if self.share is None else (self.share * elements).round().clamp_min(1)
        values = attribution[known].double().masked_fill(~present, -torch.inf)
        precision, hits = ranked(values, wanted, guessed)
        rate = (size - 1) / (elements - 1).clamp_min(1)  # of hits among the elements below a hit
        harmonic = torch.digamma(elements + 1) - torch.digamma(torch.ones_like(elements))
        by_chance = rate + (1 - rate) * harmonic / elements
        f1 = torch.stack([hits, guessed * size / elements]) * 2 / (guessed + size)
        self.total += torch.stack([torch.stack([precision, by_chance]), f1], 2).sum(1)
        self.count += len(values)


def known_regions(like: Tensor, regions: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Checks regions (B, R, L) and present (B, L) against a tensor (B, L), and picks the inputs that have regions.

    Returns:
        their regions (b, R, L) fp64, 0 where nothing is present; which inputs they are (B,); their present elements.
    """
    if regions.ndim != 3 or regions.shape[::2] != like.shape:
        raise ValueError(
            f"expected regions (B, R, L) of the same {like.shape[0]} inputs and {like.shape[1]} elements; got "
            f"{tuple(regions.shape)}."
        )
    if present is None:
        present = torch.ones_like(like, dtype=torch.bool)
    if present.shape != like.shape:
        raise ValueError(f"expected present {tuple(like.shape)}, one for each element; got {tuple(present.shape)}.")
    truth = regions.double() * present[:, None]
    known = truth.flatten(1).any(1)
    return truth[known], known, present[known].bool()


def random_groups(sizes: Tensor, present: Tensor, draw: torch.Generator) -> Tensor:
    """(B, M, L) bool random groups of sizes (B, M), of elements that are present (B, L)."""
    shape = (*sizes.shape, present.shape[1])
    noise = torch.rand(shape, generator=draw, device=present.device).masked_fill(~present[:, None], -1)
    return noise.argsort(2, descending=True).argsort(2) < sizes[..., None]


def agreement(masks: Tensor, weight: Tensor, regions: Tensor) -> Tensor:
    """The values of `GROUPS` (B, 6), of masks (B, M, L), weights (B, M) and regions (B, R, L)."""
    masks, union = masks.double(), regions.amax(1)
    inside = torch.einsum("bml,bl->bm", masks, union) / masks.sum(2).clamp_min(1)
    each = torch.einsum("bml,brl->bmr", masks, regions)
    single = each.amax(2) / each.sum(2).clamp_min(1e-12)
    p = inside.clamp(1e-12, 1 - 1e-12)
    purity = 1 + (p * p.log2() + (1 - p) * (1 - p).log2())
    held = (masks * (weight > 0)[..., None]).amax(1)  # (B, L)
    hit, held, size = (held * union).sum(1), held.sum(1), union.sum(1)
    share = weight * (each.sum(2) > 0)
    mixed = (single * share).sum(1) / share.sum(1).clamp_min(1e-12)
    overlap = (2 * hit / (held + size), hit / (held + size - hit))
    return torch.stack([(inside * weight).sum(1), (purity * weight).sum(1), mixed, hit / size, *overlap], 1)


def ranked(values: Tensor, wanted: Tensor, guessed: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision (B,), and hits (B,) among the `guessed` (B,) highest, of values and wanted (B, L) in {0, 1}."""
    values, order = values.sort(1, descending=True)
    wanted = wanted.gather(1, order)
    place = torch.arange(1, values.shape[1] + 1, device=values.device).expand_as(values)
    edge = values[:, 1:] != values[:, :-1]
    outer = torch.ones_like(edge[:, :1]) if values.shape[1] > 1 else values == values
    first = torch.cat([outer, edge], 1) * (place - 1)
    before = first.cummax(1).values  # how many are higher than each
    last = torch.where(torch.cat([edge, outer], 1), place, place[:, -1:])
    upto = last.flip(1).cummin(1).values.flip(1)  # how many are as high or higher
    hits = torch.cat([torch.zeros_like(wanted[:, :1]), wanted.cumsum(1)], 1)
    found = hits.gather(1, upto)
    precision = (wanted * found / upto).sum(1) / wanted.sum(1)
    at = guessed.long()[:, None] - 1
    low, high = before.gather(1, at), upto.gather(1, at)
    below = hits.gather(1, low)
    tied = (hits.gather(1, high) - below) * (at + 1 - low) / (high - low)
    return precision, (below + tied)[:, 0]
