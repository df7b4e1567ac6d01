"""The group selector of Sum-of-Parts: how much each group counts for each class."""

import torch
from torch import Tensor, nn

from zoo.utils.functional import sparsemax


class GroupSelector(nn.Module):
    """Sparse weights over groups for every class: states (B, M, D) to θ (B, M, C), which sum to 1 over the groups.

        θ_.c = sparsemax over groups of scale (W_q w_c) · (W_k h_i)

    Class queries w (C, D) start as the rows of the backbone's linear head, and W_q, W_k as the identity: a score is at
    first the logit that the group alone gives the class, times `scale`.

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
