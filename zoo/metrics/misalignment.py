"""Does a prototype look where its box says? What happens to it when everything outside of the box is changed.

Sacha, Jura, Rymarczyk, Struski, Tabor, Zieliński: "Interpretability Benchmark for Evaluating Spatial Misalignment of
Prototypical Parts Explanations", AAAI 2024, arXiv 2308.08162.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.functional import high_activation_box, upsample


def outside_box(support: Tensor, size: tuple[int, int], margin: int = 10, percentile: float = 95.0) -> Tensor:
    """(B, 1, H, W) bool: pixels outside of the box of high activation, `margin` pixels wider on every side.

    Args:
        support: (B, h, w), of one unit in each image.
        size: H and W.
        margin: in pixels, at least 0.
        percentile: of the map in the image's size, see `zoo.functional.high_activation_box`.
    """
    top, left, bottom, right = high_activation_box(upsample(support, size), percentile)[..., None, None].unbind(1)
    row = torch.arange(size[0], device=support.device)[:, None]
    column = torch.arange(size[1], device=support.device)
    inside = (row >= top - margin) & (row < bottom + margin) & (column >= left - margin) & (column < right + margin)
    return ~inside[:, None]


def noise_outside(x: Tensor, outside: Tensor, deviation: float = 0.05, seed: int = 0) -> Tensor:
    """Inputs with Gaussian noise where `outside` (B, 1, H, W) is True: the typical case."""
    draw = torch.Generator().manual_seed(seed)
    return x + deviation * torch.randn(x.shape, generator=draw).to(x) * outside


def attack_outside(
    x: Tensor,
    outside: Tensor,
    activation: Callable[[Tensor], Tensor],
    radius: float = 0.4,
    step: float = 0.01,
    iterations: int = 40,
) -> Tensor:
    """Inputs changed where `outside` is True so that an activation falls as far as it can: the worst case.

    Projected gradient descent in the space of inputs, |change| <= radius; the defaults are the published ones.

    Args:
        x: (B, C, H, W).
        outside: (B, 1, H, W) bool.
        activation: from inputs to the activation (B,) of one unit in each, differentiable.
        radius, step, iterations: of the descent.
    """
    change = torch.zeros_like(x)
    for _ in range(iterations):
        change.requires_grad_()
        (slope,) = torch.autograd.grad(activation(x + change * outside).sum(), change)
        change = (change.detach() - step * slope.sign()).clamp(-radius, radius)
    return (x + change.detach() * outside).detach()


class SpatialMisalignment(Metric):
    """How far a unit moves when everything outside of its box is changed, by whatever means.

        PLC  location    100 (1 - IoU of the highest tenth of the support before and after), in [0, 100]
        PAC  activation  100 (1 - a' / a), at most 100; negative if it rose
        PRC  rank        how many more units of other classes are above it than before

    All are 0 for a unit that sees its box alone. How this differs from the official code: PAC is not cut off at 0;
    an activation that is not above 0 has no PAC, and is counted.

    `compute` returns them by name (NaN without any image), with the numbers of images and of those "without PAC".
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "spatial misalignment"
    chance: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        for name in ("plc", "pac", "prc", "images", "positive"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        before: tuple[Tensor, Tensor],
        after: tuple[Tensor, Tensor],
        unit: Tensor,
        others: Tensor,
        size: tuple[int, int],
    ) -> None:
        """Adds a batch.

        Args:
            before: activations (B, K) and supports (B, K, h, w) of the images.
            after: the same of the changed images.
            unit: (B,) the unit of each image outside of whose box it was changed.
            others: (B, K) bool, units of other classes than the unit's.
            size: of the images, in which regions are compared.

        Raises:
            ValueError: shapes that do not fit.
        """
        shapes = {tuple(t.shape) for t in (before[0], after[0], others)}
        same = before[1].shape == after[1].shape
        if len(shapes) > 1 or not same or before[1].shape[:2] != others.shape or unit.shape != (len(others),):
            raise ValueError(
                "expected activations and others (B, K), supports (B, K, h, w) and unit (B,); got "
                f"{sorted(shapes)}, {tuple(before[1].shape)}, {tuple(after[1].shape)} and {tuple(unit.shape)}."
            )
        row = torch.arange(len(unit), device=unit.device)
        regions = [highest(upsample(support[row, unit], size)) for _, support in (before, after)]
        overlap = (regions[0] & regions[1]).sum((1, 2)) / (regions[0] | regions[1]).sum((1, 2))
        a, b = (activation.double()[row, unit] for activation, _ in (before, after))
        ranks = [((v[0] > v[0][row, unit][:, None]) & others).sum(1) for v in (before, after)]
        known = a > 0
        self.plc += 100 * (1 - overlap.double()).sum()
        self.pac += 100 * (1 - b[known] / a[known]).sum()
        self.prc += (ranks[1] - ranks[0]).sum()
        self.images += len(unit)
        self.positive += known.sum()

    def compute(self) -> dict[str, Tensor]:
        return {
            "PLC": self.plc / self.images,
            "PAC": self.pac / self.positive,
            "PRC": self.prc / self.images,
            "images": self.images,
            "without PAC": self.images - self.positive,
        }


def highest(maps: Tensor, share: float = 0.1) -> Tensor:
    """(B, H, W) bool: the given share of the pixels of each map that are highest, with all that tie with the last."""
    flat = maps.flatten(1)
    count = max(1, math.ceil(share * flat.shape[1] - 1e-9))
    return maps >= flat.topk(count, 1).values[:, -1][:, None, None]
