"""Agreement of groups of elements, and of attributions, with ground-truth regions."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

DRAWS = 8  # random groups, for scores whose chance level has no closed form
GROUPS = ("precision", "purity", "single", "coverage", "f1", "iou")
VALUES = ("auprc", "f1")


class Agreement(Metric):
    """Base class: scores averaged over inputs, each with its chance level.

    `compute` returns the scores by name, and chance levels with the prefix "chance "; NaN if no input was counted.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    chance: ClassVar[float | None] = None
    names: ClassVar[tuple[str, ...]]
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> dict[str, Tensor]:
        mean, prefixes = self.total / self.count, ("", "chance ")
        return {prefix + name: mean[i, j] for i, prefix in enumerate(prefixes) for j, name in enumerate(self.names)}


class RegionAgreement(Agreement):
    """Agreement of groups with ground-truth regions, compared with random groups of the same sizes.

    Groups are weighted by their share of the absolute contributions; empty groups are ignored, and an input whose
    groups do not contribute counts as 0.

        precision   share of a group's elements inside the regions
        purity      1 - H(precision) in bits: 1 if a group is entirely inside or entirely outside the regions
                    (You et al., ICML 2025, section 5)
        single      share of a group's elements inside regions that lie in the same region
        coverage    share of the regions' elements that a contributing group contains
        f1          of the union of contributing groups as a prediction of the regions
        iou         intersection over union of the same

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
            contributions: (B, M), or any other weights of the groups.
            regions: (B, R, L) in [0, 1], the share of each element inside each region; inputs without regions are
                excluded.
            present: (B, L) bool, False for padding; all elements by default.

        Raises:
            ValueError: incompatible shapes.
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
        draw = torch.Generator(masks.device).manual_seed(self.seed + self.update_count)  # other groups per batch
        sizes = masks.sum(2)
        draws = [agreement(random_groups(sizes, present, draw), weight, truth) for _ in range(DRAWS)]
        drawn = torch.stack(draws).mean(0)
        elements = present.sum(1).double()
        missed = (1 - sizes * (weight > 0) / elements[:, None]).prod(1)  # probability that no group contains an element
        drawn[:, GROUPS.index("precision")] = truth.amax(1).sum(1) / elements * weight.sum(1)
        drawn[:, GROUPS.index("coverage")] = 1 - missed
        self.total += torch.stack([agreement(masks, weight, truth).sum(0), drawn.sum(0)])
        self.count += len(masks)


class AttributionAgreement(Agreement):
    """Agreement of attributions, one value per element, with ground-truth regions, compared with a random order.

        auprc   area under the precision-recall curve, as average precision
        f1      of the highest elements as a prediction of the regions

    Ties are unordered: f1 is the mean over all orders, and auprc has one threshold for tied elements. Chance is exact.
    For texts these are the plausibility metrics of DeYoung et al.: "ERASER: A Benchmark to Evaluate Rationalized NLP
    Models", ACL 2020, averaged over texts.

    Args:
        share: share of the elements to predict for f1, in (0, 1]; by default the number of elements in the regions.

    Raises:
        ValueError: a share outside (0, 1].
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
            attribution: (B, L), higher for more relevant elements; pass absolute values if the sign only tells for
                or against a class.
            regions: (B, R, L) in [0, 1]; an element is in a region if more than half of it is. Inputs without such an
                element are excluded.
            present: (B, L) bool, False for padding; all elements by default.

        Raises:
            ValueError: incompatible shapes, or values that are not finite.
        """
        if attribution.ndim != 2:
            raise ValueError(f"expected an attribution (B, L); got {tuple(attribution.shape)}.")
        if not attribution.isfinite().all():
            raise ValueError("the attribution has values that are not finite; set elements without a value to 0.")
        truth, known, present = known_regions(attribution, (regions > 0.5).double(), present)
        relevant, elements = truth.amax(1), present.sum(1).double()
        size = relevant.sum(1)
        guessed = size if self.share is None else (self.share * elements).round().clamp_min(1)
        values = attribution[known].double().masked_fill(~present, -torch.inf)
        precision, hits = ranked(values, relevant, guessed)
        rate = (size - 1) / (elements - 1).clamp_min(1)  # of relevant elements among the elements below a relevant one
        harmonic = torch.digamma(elements + 1) - torch.digamma(torch.ones_like(elements))
        by_chance = rate + (1 - rate) * harmonic / elements
        f1 = torch.stack([hits, guessed * size / elements]) * 2 / (guessed + size)
        self.total += torch.stack([torch.stack([precision, by_chance]), f1], 2).sum(1)
        self.count += len(values)


def known_regions(like: Tensor, regions: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Checks regions (B, R, L) and present (B, L) against a tensor (B, L), and selects the inputs that have regions.

    Returns:
        Their regions (b, R, L) float64, 0 for padding; the selection (B,) bool; their present elements (b, L) bool.
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
    """(B, M, L) bool: random groups of given sizes (B, M) of the present elements (B, L)."""
    shape = (*sizes.shape, present.shape[1])
    noise = torch.rand(shape, generator=draw, device=present.device).masked_fill(~present[:, None], -1)
    return noise.argsort(2, descending=True).argsort(2) < sizes[..., None]


def agreement(masks: Tensor, weight: Tensor, regions: Tensor) -> Tensor:
    """The scores of `GROUPS` (B, 6) for masks (B, M, L), weights (B, M) and regions (B, R, L)."""
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


def ranked(values: Tensor, relevant: Tensor, guessed: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision (B,) of values (B, L), and the number of hits (B,) among the `guessed` (B,) highest.

    `relevant` (B, L) is in {0, 1}; hits are expectations over the orders of ties.
    """
    values, order = values.sort(1, descending=True)
    relevant = relevant.gather(1, order)
    place = torch.arange(1, values.shape[1] + 1, device=values.device).expand_as(values)
    edge = values[:, 1:] != values[:, :-1]
    outer = torch.ones_like(edge[:, :1]) if values.shape[1] > 1 else values == values
    first = torch.cat([outer, edge], 1) * (place - 1)
    before = first.cummax(1).values  # number of strictly higher values
    last = torch.where(torch.cat([edge, outer], 1), place, place[:, -1:])
    upto = last.flip(1).cummin(1).values.flip(1)  # number of values at least as high
    hits = torch.cat([torch.zeros_like(relevant[:, :1]), relevant.cumsum(1)], 1)
    found = hits.gather(1, upto)
    precision = (relevant * found / upto).sum(1) / relevant.sum(1)
    at = guessed.long()[:, None] - 1
    low, high = before.gather(1, at), upto.gather(1, at)
    below = hits.gather(1, low)
    tied = (hits.gather(1, high) - below) * (at + 1 - low) / (high - low)
    return precision, (below + tied)[:, 0]
