"""How many units an explanation needs, and how much of what they see lies on the object."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.metrics.prototype_parts import peaks


def covering(weight: Tensor, share: float = 0.95) -> Tensor:
    """(B, K) bool: the fewest units whose |weights| (B, K) make up `share` of their sum; none where all are 0."""
    size, order = weight.double().abs().sort(dim=1, descending=True, stable=True)
    goal = share * size.sum(1, keepdim=True)
    before = size.cumsum(1) - size  # what the larger ones have together
    needed = (before < goal * (1 - 1e-12)) & (size > 0)
    return torch.zeros_like(needed).scatter(1, order, needed)


class ExplanationSize(Metric):
    """Units in an explanation ("local") and in all explanations together ("global").

    A unit is in an explanation if its weight is not 0; under "local covering" and "global covering", if it belongs to
    the fewest units that make up `share` of the sum of |weights|.

    Args:
        units: K.
        share: in (0, 1].

    `compute` returns these four, with the number of explanations in which no unit has any weight ("empty"; they are in
    no mean).

    Raises:
        ValueError: a share outside (0, 1].
    """

    is_differentiable, higher_is_better, full_state_update = False, False, False
    title: ClassVar[str] = "size of explanations"
    chance: ClassVar[float | None] = None

    def __init__(self, units: int, share: float = 0.95) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1]; got {share}.")
        self.share = share
        for name in ("local", "local_covering", "rows", "empty"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("used", "used_covering"):
            self.add_state(name, torch.zeros(units, dtype=torch.int64), dist_reduce_fx="max")

    def update(self, weight: Tensor) -> None:
        """Adds contributions (B, K) to the explained scores, or importances where a score is no sum.

        Raises:
            ValueError: another number of units, or weights that are not finite.
        """
        if weight.ndim != 2 or weight.shape[1] != len(self.used) or not bool(weight.isfinite().all()):
            raise ValueError(
                f"expected finite weights (B, {len(self.used)}); got {tuple(weight.shape)}, "
                f"{int((~weight.isfinite()).sum())} of them not finite."
            )
        some, few = weight != 0, covering(weight, self.share)
        known = some.any(1)
        self.local += some.sum()
        self.local_covering += few.sum()
        self.rows += known.sum()
        self.empty += (~known).sum()
        self.used = self.used.maximum(some.any(0).long())
        self.used_covering = self.used_covering.maximum(few.any(0).long())

    def compute(self) -> dict[str, Tensor]:
        return {
            "local": self.local / self.rows,
            "local covering": self.local_covering / self.rows,
            "global": self.used.sum(),
            "global covering": self.used_covering.sum(),
            "empty": self.empty,
        }


class RelevanceInObject(Metric):
    """Share of the evidence that lies on the object, each unit by its share of the |weights|.

        mass    of each unit's support, the share that lies on the object
        peak    1 if the centre of its highest cell does, else 0

    Chance is the share of the image that the object fills. Supports that are above 0 everywhere have a mass near
    chance whatever the model looks at; then only the peak tells.

    `compute` returns "mass", "peak" and "chance" (NaN without any image), and the number of images that are
    "undefined": without an object, or without any weight on a unit that has a support.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str] = "relevance in the object"
    chance: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("rows", "undefined"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, support: Tensor, weight: Tensor, mask: Tensor) -> None:
        """Adds a batch.

        Args:
            support: (B, K, h, w).
            weight: (B, K), such as contributions.
            mask: (B, H, W) in [0, 1], the object, in any size.

        Raises:
            ValueError: shapes that do not fit.
        """
        if support.ndim != 4 or weight.shape != support.shape[:2] or mask.ndim != 3 or len(mask) != len(support):
            raise ValueError(
                "expected supports (B, K, h, w), weights (B, K) and masks (B, H, W); got "
                f"{tuple(support.shape)}, {tuple(weight.shape)} and {tuple(mask.shape)}."
            )
        cells = F.adaptive_avg_pool2d(mask[:, None].double(), support.shape[2:])[:, 0]
        mass = support.double().sum((2, 3))
        inside = torch.einsum("bkhw,bhw->bk", support.double(), cells) / mass.clamp_min(1e-12)
        place = peaks(support)
        scale = torch.tensor([mask.shape[2], mask.shape[1]], device=mask.device)
        x, y = (place * scale).long().unbind(2)
        on = mask.double()[torch.arange(len(mask), device=mask.device)[:, None], y, x]
        share = weight.double().abs() * (mass > 0)
        total, area = share.sum(1), mask.double().mean((1, 2))
        known = (total > 0) & (area > 0)
        share = share[known] / total[known, None]
        values = [(inside[known] * share).sum(), (on[known] * share).sum(), area[known].sum()]
        self.total += torch.stack(values)
        self.rows += known.sum()
        self.undefined += (~known).sum()

    def compute(self) -> dict[str, Tensor]:
        mean = self.total / self.rows
        return {"mass": mean[0], "peak": mean[1], "chance": mean[2], "undefined": self.undefined}
