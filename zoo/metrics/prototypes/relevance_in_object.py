"""Relevance in the object: is the evidence on the object or on the background?"""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class RelevanceInObject(Metric):
    """Share of the support inside the object, weighted by |contribution|, and the object's share of the image (chance).

    Xu-Darme, Quénot, Chihani, Rousset: "Sanity checks for patch visualisation in prototype-based image classification",
    XAI4CV 2023, arXiv 2304.13135, after upsampling. Images without support or contributions are excluded; `undefined`
    counts them.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title: ClassVar[str] = "relevance in the object"
    chance: ClassVar[float | None] = None
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("undefined", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, support: Tensor, contributions: Tensor, inside: Tensor) -> None:
        """Adds supports (B, K, h, w), contributions (B, K), and the object's share of each cell, (B, h, w) in [0, 1].

        Raises:
            ValueError: incompatible shapes.
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
