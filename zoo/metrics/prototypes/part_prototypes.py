"""Consistency, stability and purity of prototypes: peaks of their support maps compared with annotated parts.

All locations are (x, y) in [0, 1] of the image, independent of the sizes of maps, images and annotations. Prototypes
without any counted image are excluded; `undefined` counts them.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.utils.functional import upsample

IMAGENET_STD = (0.229, 0.224, 0.225)


def peaks(support: Tensor, side: int = 56) -> Tensor:
    """(B, K, 2) x and y of the maximum of each support map (B, K, h, w), upsampled to side x side as for display.

    Ties go to the first in reading order.
    """
    rows, units = support.shape[:2]
    found = []
    for chunk in support.flatten(0, 1).split(256):  # limits the memory of upsampled maps
        found.append(upsample(chunk, (side, side)).flatten(1).argmax(1))
    place = torch.cat(found).view(rows, units)
    return (torch.stack([place % side, place // side], 2) + 0.5) / side


def hits(places: Tensor, parts: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """The parts in a square around each location, and the visible parts.

    Args:
        places: (B, K, 2).
        parts: (B, P, 2), NaN for invisible parts.
        width: of the square, as a share of the image.

    Returns:
        (B, K, P) bool and (B, P) bool.
    """
    near = ((places[:, :, None] - parts[:, None]).abs() <= width / 2).all(3)  # False for NaN
    return near, parts.isfinite().all(2)


def perturbed(
    x: Tensor,
    deviation: float = 0.2,
    limit: float = 0.25,
    generator: torch.Generator | None = None,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Normalised images (B, C, H, W) with Gaussian noise that is clipped to +-limit; by default as published.

    Args:
        x: images.
        deviation: standard deviation of the noise, where images are normalised with ImageNet's statistics.
        limit: of the noise, likewise.
        generator: of the noise.
        std: of each channel, with which x is normalised. With others than ImageNet's, pixels get noise as strong as
            with those: the published 0.2 is 4.5 % of the range of pixels.
    """
    noise = deviation * torch.randn(x.shape, generator=generator)
    return x + noise.clamp(-limit, limit).to(x) * noise_scale(std, x)


def noise_scale(std: Sequence[float], x: Tensor) -> Tensor:
    """(C, 1, 1), by which noise for images normalised as for ImageNet is multiplied where they are divided by `std`."""
    if len(std) == len(IMAGENET_STD):
        return (x.new_tensor(IMAGENET_STD) / x.new_tensor(std))[:, None, None]
    return (sum(IMAGENET_STD) / len(IMAGENET_STD) / x.new_tensor(std))[:, None, None]


def sides_merged(names: Sequence[str]) -> list[int]:
    """For each part the first part of the same name but for "left" and "right", such as "left eye" of "right eye"."""
    same = [name.replace("left", "right") for name in names]
    return [same.index(name) for name in same]


class PartMetric(Metric):
    """Base class of the metrics that compare K prototypes with P annotated parts.

    Args:
        prototypes: K.
        parts: P.
        width: of the square around a peak, as a share of the image.

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
        """Raises ValueError for incompatible shapes."""
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
    """Share of prototypes whose peak is near the same part in at least `threshold` of the counted images.

    Huang, Xue, Huang, Zhang, Song, Jing, Song: "Evaluation and Improvement of Interpretability for Self-Explainable
    Part-Prototype Networks", ICCV 2023, arXiv 2212.05946, section 3.2: a square of 72 of 224 pixels, threshold 0.8.

    Differs from the published code: the caller chooses the pairs of image and prototype that count (there: all images
    of the prototype's class), which also works for shared prototypes; prototypes without counted images are excluded.

    Args:
        prototypes: K.
        parts: P.
        width: see `PartMetric`.
        threshold: in (0, 1].
    """

    title = "consistency of prototypes"
    near: Tensor
    seen: Tensor

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
        """(K,) the largest share over the parts of images in which the peak is near the part; NaN if undefined."""
        share = (self.near / self.seen).nan_to_num(-1.0).amax(1)  # exclude parts that were never visible
        return share.masked_fill(share < 0, torch.nan)

    @property
    def undefined(self) -> int:
        """The number of prototypes without a counted image."""
        return int(self.shares().isnan().sum())

    def compute(self) -> Tensor:
        shares = self.shares()
        defined = shares.isfinite()
        return (shares[defined] >= self.threshold).double().mean()


class PartStability(PartMetric):
    """Share of pairs of image and prototype whose peak is near the same parts after a perturbation of the image.

    Huang et al., ICCV 2023, section 3.3: Gaussian noise of standard deviation 0.2 on images normalised as for ImageNet,
    clipped to +-0.25, see `perturbed`.

    Differs from the published code: pairs whose peak is near no part both before and after are excluded; there, they
    count as stable, which rewards background prototypes.
    """

    title = "stability of prototypes"
    same: Tensor
    pairs: Tensor

    def __init__(self, prototypes: int, parts: int, width: float = 72 / 224) -> None:
        super().__init__(prototypes, parts, width)
        for name in ("same", "pairs"):
            self.add_state(name, torch.zeros(prototypes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, places: Tensor, perturbed: Tensor, parts: Tensor, counts: Tensor) -> None:
        """Adds peaks before and after, (B, K, 2) each, parts (B, P, 2) with NaN, and which pairs count (B, K)."""
        self.check(places, parts, counts)
        self.check(perturbed, parts, counts)
        before, after = (hits(p, parts, self.width)[0] for p in (places, perturbed))
        near_a_part = (before | after).any(2) & counts
        self.same += ((before == after).all(2) & near_a_part).sum(0)
        self.pairs += near_a_part.sum(0)

    @property
    def undefined(self) -> int:
        """The number of prototypes without a counted image."""
        return int((self.pairs == 0).sum())

    def compute(self) -> Tensor:
        return (self.same / self.pairs).nanmean()


class PartPurity(PartMetric):
    """Share of the top-activating patches of a prototype that show its most frequent part, averaged over prototypes.

    Nauta, Schlötterer, van Keulen, Seifert: "PIP-Net", CVPR 2023, section 4: a patch of 32 of 224 pixels around the
    peak in each of the 10 top-activating images. It does not measure typical activations. Only patches with an
    activation above `minimum` count. As published, a left and a right part count as one part if `names` are given.

    Differs from the published code: an image in which a part is invisible counts as one without the part (there: such
    images are left out of that part's mean).

    Args:
        prototypes: K.
        parts: P.
        width: see `PartMetric`.
        top: patches per prototype.
        minimum: activation.
        names: of the P parts, of which those that differ only in "left" and "right" are merged; None merges none.

    Raises:
        ValueError: a number out of range, or not P names.
    """

    title = "purity of prototypes"
    best: Tensor
    near: Tensor

    def __init__(
        self,
        prototypes: int,
        parts: int,
        width: float = 32 / 224,
        top: int = 10,
        minimum: float = -torch.inf,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(prototypes, parts, width)
        if names is not None and len(names) != parts:
            raise ValueError(f"expected the names of {parts} parts; got {len(names)}.")
        self.top, self.minimum = top, minimum
        self.merged = list(range(parts)) if names is None else sides_merged(names)
        self.add_state("best", torch.full((1, prototypes, top), -torch.inf), dist_reduce_fx="cat")
        self.add_state("near", torch.zeros(1, prototypes, top, parts, dtype=torch.bool), dist_reduce_fx="cat")

    def update(self, places: Tensor, parts: Tensor, activation: Tensor) -> None:
        """Adds peaks (B, K, 2), parts (B, P, 2) with NaN, and activations (B, K)."""
        self.check(places, parts, activation)
        near = hits(places, parts, self.width)[0].transpose(0, 1)  # (K, B, P)
        merged = torch.tensor(self.merged, device=near.device)
        near = torch.zeros_like(near, dtype=torch.uint8).index_add(2, merged, near.to(torch.uint8)).bool()
        self._keep(torch.cat([self.best[0], activation.float().T.to(self.best)], 1), torch.cat([self.near[0], near], 1))

    def _keep(self, values: Tensor, near: Tensor) -> None:
        best, which = values.sort(dim=1, descending=True, stable=True)
        best, which = best[:, : self.top], which[:, : self.top]
        self.best = best[None]
        self.near = near.gather(1, which[..., None].expand(-1, -1, self.parts))[None]

    def shares(self) -> Tensor:
        """(K,) purity of each prototype; NaN if undefined."""
        if len(self.best) > 1:  # results of several processes
            self._keep(self.best.transpose(0, 1).flatten(1), self.near.transpose(0, 1).flatten(1, 2))
        counts = self.best[0] > self.minimum
        share = ((self.near[0] & counts[..., None]).sum(1) / counts.sum(1, keepdim=True)).amax(1)
        return share.masked_fill(~counts.any(1), torch.nan)

    @property
    def undefined(self) -> int:
        """The number of prototypes without a counted patch."""
        return int(self.shares().isnan().sum())

    def compute(self) -> Tensor:
        return self.shares().nanmean()
