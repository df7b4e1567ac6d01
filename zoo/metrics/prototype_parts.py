"""Do prototypes stand for parts? Consistency, stability and purity against annotated places of parts.

Huang et al.: "Evaluation and Improvement of Interpretability for Self-Explainable Part-Prototype Networks", ICCV 2023,
arXiv 2212.05946 (consistency, stability); Nauta et al.: "PIP-Net", CVPR 2023 (purity).

A unit lies in an image where its support is highest: at the centre of that cell (ties: the first). A box of fixed size
around it holds a part or not. Places are shares (x, y) in [0, 1] of width and height, NaN where a part is not visible.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


def peaks(support: Tensor) -> Tensor:
    """(B, K, 2) x and y in [0, 1] of the centre of the highest cell of supports (B, K, h, w); ties: the first."""
    height, width = support.shape[2:]
    cell = support.flatten(2).argmax(2)
    return torch.stack([(cell % width + 0.5) / width, (cell // width + 0.5) / height], 2)


def cell_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(h·w, 2) x and y in [0, 1] of the centres of the cells of a grid, row by row."""
    y, x = (((torch.arange(n, device=device) + 0.5) / n) for n in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], 2).flatten(0, 1)


class Parts(Metric):
    """The base of metrics that ask which parts lie in the box of a unit.

    Args:
        groups: for each of the P annotated parts the number of its kind, such as one for both eyes; a kind is in a box
            if one of its parts is. An int P keeps all parts apart.
        side: of the box, as a share of width and height, in (0, 1].

    Raises:
        ValueError: a side outside (0, 1], or kinds that are not numbered from 0.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str]
    chance: ClassVar[float | None] = None

    def __init__(self, groups: int | Sequence[int], side: float) -> None:
        super().__init__()
        of = list(range(groups)) if isinstance(groups, int) else list(groups)
        if not of or sorted(set(of)) != list(range(max(of) + 1)):
            raise ValueError(f"groups must number the kinds of parts from 0 without a gap; got {of}.")
        if not 0 < side <= 1:
            raise ValueError(f"side must be a share of the image in (0, 1]; got {side}.")
        self.side, self.kinds = side, max(of) + 1
        self.register_buffer("member", torch.eye(self.kinds, dtype=torch.float64)[of], persistent=False)  # (P, G)

    def hits(self, place: Tensor, parts: Tensor) -> Tensor:
        """(B, K, G) bool: is one of the parts (B, P, 2) of each kind in the box around each place (B, K, 2)?"""
        near = (place[:, :, None] - parts[:, None]).abs()  # (B, K, P, 2); NaN is near to nothing
        return (((near <= self.side / 2).all(3).double() @ self.member) > 0.5).bool()

    def visible(self, parts: Tensor) -> Tensor:
        """(B, G) bool: is any part of each kind visible?"""
        return (parts.isfinite().all(2).double() @ self.member) > 0.5

    def by_chance(self, parts: Tensor, support: Tensor) -> Tensor:
        """(B, G) the share of the cells of the grid whose box holds each kind: what a unit at a random cell hits."""
        centres = cell_centres(support.shape[2], support.shape[3], support.device)
        return self.hits(centres.expand(len(parts), -1, -1), parts).double().mean(1)

    def check(self, support: Tensor, parts: Tensor, counts: Tensor | None) -> Tensor:
        """Which (image, unit) pairs count (B, K); all by default.

        Raises:
            ValueError: shapes that do not fit.
        """
        if support.ndim != 4 or parts.shape != (len(support), len(self.member), 2):
            raise ValueError(
                f"expected supports (B, K, h, w) and places of parts (B, {len(self.member)}, 2); got "
                f"{tuple(support.shape)} and {tuple(parts.shape)}."
            )
        counts = torch.ones(support.shape[:2], dtype=torch.bool, device=support.device) if counts is None else counts
        if counts.shape != support.shape[:2]:
            raise ValueError(f"expected counts {tuple(support.shape[:2])}, (B, K); got {tuple(counts.shape)}.")
        return counts.bool()


class PartConsistency(Parts):
    """Share of units that lie on one and the same part in most images.

        rate_kg = share of the images in which unit k counts and part g is visible, where g is in the box of k
        unit k is consistent if max_g rate_kg >= threshold

    How this differs from the official code: pairs in which the model does not use the unit can be left out (`counts`;
    there: all units of the true class); a part must be visible in `least` of the unit's images, and units without any
    such part are counted as undefined, not as inconsistent; chance is given beside: the rates of a unit that lies at a
    random cell in each of the same images.

    Args:
        units: K.
        groups, side: see `Parts`; published: parts apart, 72 of 224 pixels.
        threshold: in (0, 1].
        least: images, at least 1.

    `compute` returns "consistency" and "rate" (the mean of max_g rate_kg), each with "chance " before, both NaN
    without any unit, and the numbers of units that are "defined" and "undefined".
    """

    title: ClassVar[str] = "consistency of prototypes"

    def __init__(
        self, units: int, groups: int | Sequence[int], side: float = 72 / 224, threshold: float = 0.8, least: int = 5
    ) -> None:
        super().__init__(groups, side)
        if not 0 < threshold <= 1 or least < 1:
            raise ValueError(f"expected threshold in (0, 1] and least >= 1; got {threshold} and {least}.")
        self.threshold, self.least = threshold, least
        for name in ("hit", "seen", "random"):
            self.add_state(name, torch.zeros(units, self.kinds, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, support: Tensor, parts: Tensor, counts: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            support: (B, K, h, w).
            parts: (B, P, 2) x and y in [0, 1]; NaN where not visible.
            counts: (B, K) bool, the pairs that count, such as those in which the unit is used.

        Raises:
            ValueError: shapes that do not fit.
        """
        pairs, visible = self.check(support, parts, counts).double(), self.visible(parts).double()
        self.hit += torch.einsum("bkg,bk->kg", self.hits(peaks(support), parts).double(), pairs)
        self.seen += pairs.T @ visible
        self.random += pairs.T @ self.by_chance(parts, support)

    def each(self) -> Tensor:
        """(K,) the best rate of each unit; NaN where undefined."""
        return self._best(self.hit)

    def _best(self, hits: Tensor) -> Tensor:
        rate = (hits / self.seen).masked_fill(self.seen < self.least, -1)
        best = rate.amax(1)
        return best.masked_fill(best < 0, torch.nan)

    def compute(self) -> dict[str, Tensor]:
        out = {}
        for prefix, best in (("", self.each()), ("chance ", self._best(self.random))):
            known = best[best.isfinite()]
            out |= {prefix + "consistency": (known >= self.threshold).double().mean(), prefix + "rate": known.mean()}
        return {**out, **_numbers(self.each())}


class PartPurity(Parts):
    """Of the images in which a unit fires most, the largest share whose patches show the same part.

        purity_k = max_g (images among the top n of unit k in whose box g is) / n

    A part that is not visible is not in the box. How this differs from the official code: units that were seen in
    fewer than n images that count are undefined, and counted; chance is given beside: the largest share that a unit at
    a random cell of the same images has in the mean.

    Args:
        units: K.
        groups, side: see `Parts`; published: left and right merged, 32 of 224 pixels.
        top: n.
        related: purity above which a unit is related to a part.

    `compute` returns "purity" and "related" (the share of such units), each with "chance " before, and "defined" and
    "undefined".
    """

    title: ClassVar[str] = "purity of prototypes"

    def __init__(
        self, units: int, groups: int | Sequence[int], side: float = 32 / 224, top: int = 10, related: float = 0.5
    ) -> None:
        super().__init__(groups, side)
        if top < 1:
            raise ValueError(f"top must be at least 1 image; got {top}.")
        self.top, self.related = top, related
        blank = torch.zeros(units, top, 1 + 2 * self.kinds, dtype=torch.float64)
        blank[..., 0] = -torch.inf
        self.add_state("best", blank, dist_reduce_fx=_merged)  # of each image: activation, hits, chance

    def update(self, support: Tensor, activation: Tensor, parts: Tensor, counts: Tensor | None = None) -> None:
        """Adds a batch: as for `PartConsistency`, with activations (B, K).

        Raises:
            ValueError: shapes that do not fit.
        """
        pairs = self.check(support, parts, counts)
        if activation.shape != pairs.shape:
            raise ValueError(f"expected activations {tuple(pairs.shape)}, (B, K); got {tuple(activation.shape)}.")
        value = activation.double().masked_fill(~pairs, -torch.inf)[..., None]
        random = self.by_chance(parts, support)[:, None].expand(-1, value.shape[1], -1)
        rows = torch.cat([value, self.hits(peaks(support), parts).double(), random], 2)  # (B, K, 1 + 2G)
        self.best = _top(torch.cat([self.best, rows.transpose(0, 1)], 1), self.top)

    def each(self) -> Tensor:
        """(K,) the purity of each unit; NaN where undefined."""
        return self._share(slice(1, 1 + self.kinds))

    def _share(self, columns: slice) -> Tensor:
        full = self.best[..., 0].isfinite().all(1)
        return self.best[..., columns].mean(1).amax(1).masked_fill(~full, torch.nan)

    def compute(self) -> dict[str, Tensor]:
        out = {}
        for prefix, share in (("", self.each()), ("chance ", self._share(slice(1 + self.kinds, None)))):
            known = share[share.isfinite()]
            out |= {prefix + "purity": known.mean(), prefix + "related": (known > self.related).double().mean()}
        return {**out, **_numbers(self.each())}


class PartStability(Parts):
    """Share of (unit, image) pairs whose box holds exactly the same parts after the image was disturbed.

    How this differs from the official code: a pair in which no part is in the box before or after says nothing; it is
    counted as "empty" instead of as stable.

    Args:
        groups, side: see `Parts`; published: parts apart, 72 of 224 pixels, for noise of 0.2, at most 0.25.

    `compute` returns "stability" (NaN without any pair) and the numbers of pairs that are "defined" and "empty".
    """

    title: ClassVar[str] = "stability of prototypes"

    def __init__(self, groups: int | Sequence[int], side: float = 72 / 224) -> None:
        super().__init__(groups, side)
        for name in ("same", "defined", "empty"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, before: Tensor, after: Tensor, parts: Tensor, counts: Tensor | None = None) -> None:
        """Adds a batch: supports (B, K, h, w) of images and of the disturbed images; the rest as `PartConsistency`.

        Raises:
            ValueError: shapes that do not fit.
        """
        pairs = self.check(before, parts, counts)
        if after.shape != before.shape:
            raise ValueError(f"expected supports {tuple(before.shape)} after as before; got {tuple(after.shape)}.")
        first, second = (self.hits(peaks(support), parts) for support in (before, after))
        some = (first | second).any(2) & pairs
        self.same += ((first == second).all(2) & some).sum()
        self.defined += some.sum()
        self.empty += (pairs & ~some).sum()

    def compute(self) -> dict[str, Tensor]:
        return {"stability": self.same / self.defined, "defined": self.defined, "empty": self.empty}


def _numbers(each: Tensor) -> dict[str, Tensor]:
    known = each.isfinite().sum()
    return {"defined": known, "undefined": len(each) - known}


def _top(rows: Tensor, count: int) -> Tensor:
    """The `count` rows (K, n, m) of largest first number for each unit; ties keep their order."""
    order = rows[..., 0].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))


def _merged(ranks: Tensor) -> Tensor:
    """The best rows of every process (R, K, n, m) as the best of all."""
    return _top(ranks.transpose(0, 1).flatten(1, 2), ranks.shape[2])
