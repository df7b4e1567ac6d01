"""The group selector of Sum-of-Parts: the weight of each group for each class."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.utils.checks import check_above, check_choice
from zoo.utils.functional import sparsemax


@dataclass(frozen=True)
class SelectorOptions:
    """Options of the group selector."""

    reads: Literal["output", "input"] = "output"
    """What weights depend on: "output": the backbone's state of the masked group, as published; "input": the mean of
    the generator's features over the group, so that groups that no class needs are never run."""
    scale: float = 0.1
    """Factor of the scores, the paper's s_s; larger values select fewer groups."""

    def __post_init__(self) -> None:
        check_choice(("output", "input"), reads=self.reads)
        check_above(0, scale=self.scale)


class GroupSelector(nn.Module):
    """Sparse weights over groups for every class: states (B, M, D) to θ (B, M, C), which sum to 1 over the groups.

        θ_.c = sparsemax over groups of scale (W_q w_c) · (W_k h_i)

    Class queries w (C, D) start as the rows of the backbone's linear head, and W_q, W_k as the identity. So a score
    starts as `scale` times the logit of the class for the group.

    Args:
        features: D.
        classes: C.
        scale: the paper's s_s.
    """

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.classes = nn.Parameter(torch.randn(classes, features) / features**0.5)
        self.query, self.key = (nn.Linear(features, features, bias=False) for _ in range(2))
        for layer in (self.query, self.key):
            nn.init.eye_(layer.weight)

    def forward(self, states: Tensor) -> Tensor:
        scores = self.scale * self.key(states) @ self.query(self.classes).T  # (B, M, C)
        return sparsemax(scores, 1)
