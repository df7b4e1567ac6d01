"""Do prototypes mean one part of an object, and keep to it? Metrics of peaks of support maps beside annotated parts.

All places are (x, y) as shares in [0, 1] of the image, so that maps, images and annotations of any size fit together.
A prototype that never counted has no value: it is left out, and `undefined` says how many there are.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.utils.functional import upsample


def peaks(support: Tensor, side: int = 56) -> Tensor:
    """(B, K, 2) x and y of the highest point of each support map (B, K, h, w), upsampled to side x side as for people.

    Ties go to the first in reading order.
    """
    rows, units = support.shape[:2]
    found = []
    for chunk in support.flatten(0, 1).split(256):  # bounds the upsampled maps
        found.append(upsample(chunk, (side, side)).flatten(1).argmax(1))
    place = torch.cat(found).view(rows, units)
    return (torch.stack([place % side, place // side], 2) + 0.5) / side


def hits(places: Tensor, parts: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Which parts lie in a square around each place, and which parts could.

    Args:
        places: (B, K, 2).
        parts: (B, P, 2), NaN where a part is not to be seen.
        width: of the square, a share of the image.

    Returns:
        (B, K, P) and (B, P) bool.
    """
    near = ((places[:, :, None] - parts[:, None]).abs() <= width / 2).all(3)  # NaN is never near
    return near, parts.isfinite().all(2)


class PartMetric(Metric):
    """What the metrics of parts share: counts for K prototypes and P parts.

    Args:
        prototypes: K.
        parts: P.
        width: of the square around a peak, a share of the image.

    Raises:
        ValueError: a number out of range.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str]
    chance: ClassVar[float | None] = None

    def __init__(self, prototypes: int, parts: int, width: float) -> None:
        super().__init__()
        if prototypes < 1 or parts < 1 or not 0 < width <= 1:
            raise ValueError(
                f"expected prototypes >= 1, parts >= 1 and a width in (0, 1]; got {prototypes}, {parts} and {width}."
            )
        self.prototypes, self.parts, self.width = prototypes, parts, width

    def check(self, places: Tensor, parts: Tensor, counts: Tensor) -> None:
        """Raises ValueError for shapes that do not fit."""
        rows, wanted = places.shape[0], (self.prototypes, self.parts)
        if (
            places.shape[1:] != (wanted[0], 2)
            or parts.shape != (rows, wanted[1], 2)
            or counts.shape != places.shape[:2]
        ):
            raise ValueError(
                f"expected places (B, {wanted[0]}, 2), parts (B, {wanted[1]}, 2) and counts (B, {wanted[0]}); got "
                f"{tuple(places.shape)}, {tuple(parts.shape)} and {tuple(counts.shape)}."
            )


class PartConsistency(PartMetric):
    """Share of prototypes whose peak lies by one and the same part in at least `threshold` of the images that count.

    Huang, Xue, Huang, Zhang, Song, Jing, Song: "Evaluation and Improvement of Interpretability for Self-Explainable
    Part-Prototype Networks", ICCV 2023, arXiv 2212.05946, section 3.2: a square of 72 of 224 pixels, threshold 0.8.

    How this differs from the official code: the caller says which pairs of image and prototype count (there: all of the
    prototype's class), so that it works for shared prototypes; prototypes that never count are left out and told.

    Args:
        prototypes, parts, width: see `PartMetric`.
        threshold: in (0, 1].
    """

    title = "consistency of prototypes"

    def __init__(self, prototypes: int, parts: int, width: float = 72 / 224, threshold: float = 0.8) -> None:
        super().__init__(prototypes, parts, width)
        self.threshold = threshold
        for name in ("near", "seen"):
            self.add_state(name, torch.zeros(prototypes, parts, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, places: Tensor, parts: Tensor, counts: Tensor) -> None:
        """Adds peaks (B, K, 2), parts (B, P, 2) with NaN, and which pairs count (B, K) bool."""
        self.check(places, parts, counts)
        near, visible = hits(places, parts, self.width)
        self.near += (near & counts[..., None]).sum(0)
        self.seen += (visible[:, None] & counts[..., None]).sum(0)

    def shares(self) -> Tensor:
        """(K,) the share of images, of the part that each prototype is nearest to most often; NaN where undefined."""
        share = (self.near / self.seen).nan_to_num(-1.0).amax(1)  # of parts that were never seen: no say
        return share.masked_fill(share < 0, torch.nan)

    @property
    def undefined(self) -> int:
        """How many prototypes never counted."""
        return int(self.shares().isnan().sum())

    def compute(self) -> Tensor:
        shares = self.shares()
        defined = shares.isfinite()
        return (shares[defined] >= self.threshold).double().mean()


class PartStability(PartMetric):
    """Share of pairs of image and prototype whose peak lies by the same parts after the image was perturbed.

    Huang et al., ICCV 2023, section 3.3: Gaussian noise of standard deviation 0.2 on normalised images.

    How this differs from the official code: a pair whose peak lies by no part before and after is no evidence of
    stability and does not count; the official number counts it as stable, which rewards prototypes of background.
    """

    title = "stability of prototypes"

    def __init__(self, prototypes: int, parts: int, width: float = 72 / 224) -> None:
        super().__init__(prototypes, parts, width)
        for name in ("same", "pairs"):
            self.add_state(name, torch.zeros(prototypes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, places: Tensor, perturbed: Tensor, parts: Tensor, counts: Tensor) -> None:
        """Adds peaks before and after, (B, K, 2) each, parts (B, P, 2) with NaN, and which pairs count (B, K)."""
        self.check(places, parts, counts)
        self.check(perturbed, parts, counts)
        before, after = (hits(p, parts, self.width)[0] for p in (places, perturbed))
        somewhere = (before | after).any(2) & counts
        self.same += ((before == after).all(2) & somewhere).sum(0)
        self.pairs += somewhere.sum(0)

    @property
    def undefined(self) -> int:
        """How many prototypes never counted."""
        return int((self.pairs == 0).sum())

    def compute(self) -> Tensor:
        return (self.same / self.pairs).nanmean()


class PartPurity(PartMetric):
    """Mean over prototypes: of the patches in which it fires most, the share that has the part that most of them have.

    Nauta, Schlötterer, van Keulen, Seifert: "PIP-Net", CVPR 2023, section 4: of the 10 images in which a prototype
    fires most, a patch of 32 of 224 pixels around the peak. It looks at the best images only, and says nothing of
    typical ones. A prototype counts once its activation was above `least`.

    Args:
        prototypes, parts, width: see `PartMetric`.
        top: patches for each prototype.
        least: activation.
    """

    title = "purity of prototypes"

    def __init__(
        self, prototypes: int, parts: int, width: float = 32 / 224, top: int = 10, least: float = -torch.inf
    ) -> None:
        super().__init__(prototypes, parts, width)
        self.top, self.least = top, least
        self.add_state("best", torch.full((1, prototypes, top), -torch.inf), dist_reduce_fx="cat")
        self.add_state("near", torch.zeros(1, prototypes, top, parts, dtype=torch.bool), dist_reduce_fx="cat")

    def update(self, places: Tensor, parts: Tensor, activation: Tensor) -> None:
        """Adds peaks (B, K, 2), parts (B, P, 2) with NaN, and activations (B, K)."""
        self.check(places, parts, activation)
        near = hits(places, parts, self.width)[0].transpose(0, 1)  # (K, B, P)
        self._keep(torch.cat([self.best[0], activation.float().T.to(self.best)], 1), torch.cat([self.near[0], near], 1))

    def _keep(self, values: Tensor, near: Tensor) -> None:
        best, which = values.sort(dim=1, descending=True, stable=True)
        best, which = best[:, : self.top], which[:, : self.top]
        self.best = best[None]
        self.near = near.gather(1, which[..., None].expand(-1, -1, self.parts))[None]

    def shares(self) -> Tensor:
        """(K,) purity of each prototype; NaN where undefined."""
        if len(self.best) > 1:  # of several processes
            self._keep(self.best.transpose(0, 1).flatten(1), self.near.transpose(0, 1).flatten(1, 2))
        counts = self.best[0] > self.least
        share = ((self.near[0] & counts[..., None]).sum(1) / counts.sum(1, keepdim=True)).amax(1)
        return share.masked_fill(~counts.any(1), torch.nan)

    @property
    def undefined(self) -> int:
        """How many prototypes never fired."""
        return int(self.shares().isnan().sum())

    def compute(self) -> Tensor:
        return self.shares().nanmean()
