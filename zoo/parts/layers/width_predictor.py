"""Predicts the widths of a filter at each patch of a picture, by attention between the patches."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDEST = 6.0  # of a width, as published
SMALLEST = 1e-6  # as published


class WidthPredictor(nn.Module):
    """Patches as tokens, attention twice, and three widths for each patch.

        t = pixels of a patch (P² C)      h = A₂(A₁(t)),   A(t) = V t + attention(Q t, K t, V t), one head of width D
        widths = min(softplus(W LayerNorm(h) + b), 6) + 1e-6

    W starts at 0, so that all patches start with the widths `start`. V t is added because attention that is about
    uniform would give all patches the same widths.

    Args:
        channels: C of the picture.
        patch: P, side of a patch.
        width: D.
        start: vertical, horizontal and range width.
    """

    def __init__(self, channels: int, patch: int, width: int, start: Sequence[float]) -> None:
        super().__init__()
        self.patch = patch
        self.first = nn.Linear(patch * patch * channels, 3 * width)
        self.second = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(start))
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([math.log(math.expm1(value)) for value in start]))

    def forward(self, picture: Tensor) -> Tensor:
        """Widths (B, 3, h, w) for a picture (B, C, H, W), whose last patches are filled up with border pixels."""
        height, width = picture.shape[-2:]
        below, right = -height % self.patch, -width % self.patch
        filled = F.pad(picture, (0, right, 0, below), mode="replicate")
        tokens = F.unfold(filled, self.patch, stride=self.patch).mT  # (B, N, P² C)
        for layer in (self.first, self.second):
            query, key, value = layer(tokens).chunk(3, -1)
            tokens = value + F.scaled_dot_product_attention(query, key, value)
        found = F.softplus(self.out(self.norm(tokens))).clamp_max(WIDEST) + SMALLEST
        return found.mT.unflatten(2, ((height + below) // self.patch, (width + right) // self.patch))
