"""Spatial misalignment of prototypes: does a prototype depend on pixels outside of the box that it shows?"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.utils.functional import high_activation_box, upsample

NAMES = ("PLC", "PAC", "PRC")


class SpatialMisalignment(Metric):
    """The change of a prototype if only pixels outside of its box are changed, averaged over images.

        PLC   1 - IoU of the top tenth of the activation map before and after, in per cent    (location)
        PAC   1 - activation after / before, at least 0, in per cent                          (activation)
        PRC   number of units that overtake the prototype                                     (rank)

    For the prototype of largest contribution in each image. Sacha, Jura, Rymarczyk, Struski, Tabor, Zieliński:
    "Interpretability Benchmark for Evaluating Spatial Misalignment of Prototypical Parts Explanations", AAAI 2024,
    arXiv 2308.08162, section 4. The caller changes the pixels: `attack_outside` searches for the worst case, as in the
    paper; `noise_outside` is a typical case. Report which one was used.

    Images whose prototype is not active before the change are excluded; `undefined` counts them.
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "spatial misalignment"
    chance: ClassVar[float | None] = None
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, unit: Tensor, activation: Tensor, support: Tensor, changed: Tensor, moved: Tensor) -> None:
        """Adds a batch.

        Args:
            unit: (B,) the prototype of each image.
            activation: (B, K) before the change.
            support: (B, K, h, w) before the change.
            changed: (B, K) activations after the change.
            moved: (B, K, h, w) supports after the change.

        Raises:
            ValueError: incompatible shapes.
        """
        if activation.shape != changed.shape or support.shape != moved.shape or unit.shape != activation.shape[:1]:
            raise ValueError(
                "expected unit (B,), activations (B, K) and supports (B, K, h, w), of equal shapes before and after; "
                f"got {tuple(unit.shape)}, {tuple(activation.shape)} and {tuple(changed.shape)}, "
                f"{tuple(support.shape)} and {tuple(moved.shape)}."
            )
        rows = torch.arange(len(unit), device=unit.device)
        before, after = activation[rows, unit].double(), changed[rows, unit].double()
        first, second = (_top_tenth(maps[rows, unit]) for maps in (support, moved))
        overlap = (first & second).sum(1) / (first | second).sum(1).clamp_min(1)
        fell = (1 - after / before).clamp(0, 1)
        ranks = [(a > a[rows, unit][:, None]).sum(1) for a in (activation, changed)]
        overtaken = (ranks[1] - ranks[0]).clamp_min(0)
        known = before > 0
        values = torch.stack([100 * (1 - overlap), 100 * fell, overtaken.double()], 1)[known]
        self.total += values.sum(0)
        self.count += known.sum()
        self.undefined += (~known).sum()

    def compute(self) -> dict[str, Tensor]:
        return dict(zip(NAMES, self.total / self.count, strict=True))


def _top_tenth(maps: Tensor, side: int = 56) -> Tensor:
    """(B, side²) bool: the highest tenth of the upsampled maps (B, h, w), where positive."""
    flat = upsample(maps, (side, side)).flatten(1)
    return (flat >= flat.kthvalue(flat.shape[1] - flat.shape[1] // 10, 1, keepdim=True).values) & (flat > 0)


def outside_of_box(support: Tensor, size: tuple[int, int], margin: int = 10) -> Tensor:
    """(B, 1, H, W) True outside of the box of the top 5 % of support maps (B, h, w), enlarged by a margin in pixels."""
    boxes = high_activation_box(upsample(support, size))
    y, x = torch.arange(size[0], device=support.device), torch.arange(size[1], device=support.device)
    top, left, bottom, right = (boxes[:, i, None] for i in range(4))
    rows, columns = (y >= top - margin) & (y < bottom + margin), (x >= left - margin) & (x < right + margin)
    return ~(rows[:, :, None] & columns[:, None])[:, None]


def noise_outside(x: Tensor, outside: Tensor, deviation: float | Tensor = 0.05, seed: int = 0) -> Tensor:
    """Inputs with Gaussian noise where `outside` (B, 1, H, W) is True, a typical change.

    The deviation may differ by channel, as a tensor (C, 1, 1).
    """
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
    """Inputs changed where `outside` is True to minimise an activation, the worst-case change.

    Projected gradient descent with |change| <= radius; the defaults are those of the paper.

    Args:
        x: (B, C, H, W).
        outside: (B, 1, H, W) bool.
        activation: maps inputs to the activation (B,) of one unit each, differentiable.
        radius: largest change, in the scale of the model's input.
        step: of one iteration.
        iterations: number of steps.
    """
    change = torch.zeros_like(x)
    for _ in range(iterations):
        change.requires_grad_()
        (slope,) = torch.autograd.grad(activation(x + change * outside).sum(), change)
        change = (change.detach() - step * slope.sign()).clamp(-radius, radius)
    return (x + change.detach() * outside).detach()
