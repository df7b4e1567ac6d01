"""FAST: which pairs of columns interact.

Lou, Caruana, Gehrke, Hooker: "Accurate Intelligible Models with Pairwise Interactions", KDD 2013, section 4. A pair's
strength is the largest gain of log-likelihood (second order) by a model that cuts both columns once and has a constant
in each of the four quadrants. All cuts are read off cumulative sums of two 2-D histograms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.additive.layers.counts import pair_counts


def quadrant_gains(residual: Tensor, weight: Tensor) -> Tensor:
    """Gain of each pair of cuts.

    Args:
        residual: (A, B) sums of the residuals in each cell.
        weight: (A, B) sums of the curvatures.

    Returns:
        (A - 1, B - 1) half the sum of residual^2 / weight over the quadrants, less that of the whole.
    """

    def quadrants(cell: Tensor) -> Tensor:
        low = cell.cumsum(0).cumsum(1)
        a, b, c = low[:-1, :-1], low[:-1, -1:].expand(-1, low.shape[1] - 1), low[-1:, :-1].expand(len(low) - 1, -1)
        return torch.stack([a, b - a, c - a, low[-1, -1] - b - c + a])

    total = residual.sum().square() / weight.sum().clamp(min=1e-12)
    return ((quadrants(residual).square() / quadrants(weight).clamp(min=1e-12)).sum(0) - total) / 2


def rank_pairs(bins: Tensor, sizes: Sequence[int], residual: Tensor, weight: Tensor) -> list[tuple[int, int, float]]:
    """All pairs of columns, the strongest first.

    Args:
        bins: (K, N) bins, rather few of them. Levels of a category should be in the order of their effect.
        sizes: number of bins of each.
        residual: (N, C') what the main effects leave over.
        weight: (N, C') curvatures.

    Returns:
        (i, j, gain) with i < j; the gain is summed over the columns of scores.
    """
    found: list[tuple[int, int, float]] = []
    for j in range(len(sizes)):
        for i in range(j):
            size = (sizes[i], sizes[j])
            gain = 0.0
            for r, w in zip(residual.T, weight.T, strict=True):
                gains = quadrant_gains(pair_counts(bins[i], bins[j], size, r), pair_counts(bins[i], bins[j], size, w))
                gain += float(gains.max()) if gains.numel() else 0.0
            found.append((i, j, gain))
    return sorted(found, key=lambda pair: -pair[2])
