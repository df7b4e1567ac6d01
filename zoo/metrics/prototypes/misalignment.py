"""Does a prototype see what its box shows? Spatial misalignment, size of explanations, and relevance in the object."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.utils.functional import high_activation_box, upsample

NAMES = ("PLC", "PAC", "PRC")


class SpatialMisalignment(Metric):
    """How much a prototype says otherwise of its box when only pixels outside of that box are changed, in percent.

        PLC   1 - IoU of the tenth of the map where it fires most, before and after           (location)
        PAC   1 - activation after / before, at least 0                                       (activation)
        PRC   how many other units overtake it                                                (rank, a number)

    For the prototype of largest contribution in each image. Sacha, Jura, Rymarczyk, Struski, Tabor, Zieliński:
    "Interpretability Benchmark for Evaluating Spatial Misalignment of Prototypical Parts Explanations", AAAI 2024,
    arXiv 2308.08162, section 4. How the outside is changed is the caller's choice: the paper searches for the worst
    case by gradients; noise is the milder, typical case, and both are to be named beside the number.

    Images whose prototype did not fire before have no value; `undefined` counts them.
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "spatial misalignment"
    chance: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, unit: Tensor, activation: Tensor, support: Tensor, changed: Tensor, moved: Tensor) -> None:
        """Adds a batch.

        Args:
            unit: (B,) the prototype of each image.
            activation, support: (B, K) and (B, K, h, w) before.
            changed, moved: the same after.

        Raises:
            ValueError: shapes that do not fit.
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
    """(B, side²) bool, the tenth of the upsampled maps (B, h, w) that is highest, as far as it is above 0."""
    flat = upsample(maps, (side, side)).flatten(1)
    return (flat >= flat.kthvalue(flat.shape[1] - flat.shape[1] // 10, 1, keepdim=True).values) & (flat > 0)


def outside_of_box(support: Tensor, size: tuple[int, int], margin: int = 10) -> Tensor:
    """(B, 1, H, W) True outside of the box of the strongest 5 % of support maps (B, h, w), and its margin in pixels."""
    boxes = high_activation_box(upsample(support, size))
    y, x = torch.arange(size[0], device=support.device), torch.arange(size[1], device=support.device)
    top, left, bottom, right = (boxes[:, i, None] for i in range(4))
    rows, columns = (y >= top - margin) & (y < bottom + margin), (x >= left - margin) & (x < right + margin)
    return ~(rows[:, :, None] & columns[:, None])[:, None]


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


class ExplanationSize(Metric):
    """How many units an explanation has, and how many are ever used.

        local    mean number of the fewest units that hold `cover` of the absolute contributions
        nonzero  mean number of units whose contribution is not 0
        global   number of units that were ever among the former

    Nauta et al., "PIP-Net", CVPR 2023, section 4, have the second ("local size") and the number of units with any
    weight.

    Args:
        units: K.
        cover: in (0, 1].
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "size of explanations"
    chance: ClassVar[float | None] = None

    def __init__(self, units: int, cover: float = 0.95) -> None:
        super().__init__()
        if not 0 < cover <= 1:
            raise ValueError(f"cover must be in (0, 1]; got {cover}.")
        self.cover = cover
        self.add_state("used", torch.zeros(units, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, contributions: Tensor) -> None:
        """Adds contributions (B, K)."""
        size, order = contributions.abs().double().sort(dim=1, descending=True, stable=True)
        before = size.cumsum(1) - size
        needed = (before < self.cover * size.sum(1, keepdim=True) * (1 - 1e-9)) & (size > 0)
        self.used += torch.zeros_like(needed).scatter(1, order, needed).sum(0)
        self.total += torch.stack([needed.sum(1), (size > 0).sum(1)], 1).double().sum(0)
        self.count += len(contributions)

    def compute(self) -> dict[str, Tensor]:
        local, nonzero = self.total / self.count
        return {"local": local, "nonzero": nonzero, "global": (self.used > 0).sum()}


class RelevanceInObject(Metric):
    """Share of the support that lies in the object, weighted by |contribution|, beside the object's share of the image.

    Xu-Darme, Quénot, Chihani, Rousset: "Sanity checks for patch visualisation in prototype-based image classification",
    XAI4CV 2023, arXiv 2304.13135, after upsampling. Images without any support or contribution are not counted.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str] = "relevance in the object"
    chance: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, support: Tensor, contributions: Tensor, inside: Tensor) -> None:
        """Adds supports (B, K, h, w), contributions (B, K), and how much of each cell is object, (B, h, w) in [0, 1].

        Raises:
            ValueError: shapes that do not fit.
        """
        if support.shape[:2] != contributions.shape or inside.shape != (len(support), *support.shape[2:]):
            raise ValueError(
                "expected supports (B, K, h, w), contributions (B, K) and an object (B, h, w); got "
                f"{tuple(support.shape)}, {tuple(contributions.shape)} and {tuple(inside.shape)}."
            )
        weight = torch.einsum("bk,bkhw->bhw", contributions.abs().double(), support.double())
        mass = weight.sum((1, 2))
        known = mass > 0
        share = (weight * inside).sum((1, 2))[known] / mass[known]
        self.total += torch.stack([share.sum(), inside[known].double().mean((1, 2)).sum()])
        self.count += known.sum()
        self.undefined += (~known).sum()

    def compute(self) -> dict[str, Tensor]:
        share, area = self.total / self.count
        return {"relevance": share, "chance relevance": area}
