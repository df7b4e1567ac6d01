"""Sums over rows that share a bin, or a pair of bins: all that a solver needs of the rows."""

import torch
from torch import Tensor

from zoo.additive.layers.blocks import FLOAT, BinColumn, Block


def pair_counts(first: Tensor, second: Tensor, sizes: tuple[int, int], weight: Tensor) -> Tensor:
    """Sum of weights of the rows in each pair of bins.

    Args:
        first: (N,) bins, integers.
        second: (N,) bins.
        sizes: number of bins of both.
        weight: (N,).

    Returns:
        (sizes[0], sizes[1]).
    """
    cell = first.to(torch.int64) * sizes[1] + second
    return torch.bincount(cell, weight, minlength=sizes[0] * sizes[1]).view(sizes)


def main_gram(bins: Tensor, blocks: list[Block], weight: Tensor) -> Tensor:
    """Gram matrix (1 + R, 1 + R) of the intercept and of all main effects' basis columns.

    Args:
        bins: (K, N), integers.
        blocks: K blocks, R columns altogether.
        weight: (N,).
    """
    ends = torch.tensor([1] + [block.basis.shape[1] for block in blocks]).cumsum(0).tolist()
    gram = torch.empty(ends[-1], ends[-1], dtype=FLOAT)
    gram[0, 0] = weight.sum()
    for k, one in enumerate(blocks):
        here = slice(ends[k], ends[k + 1])
        count = torch.bincount(bins[k], weight, minlength=len(one.basis))
        gram[0, here] = gram[here, 0] = count @ one.basis
        gram[here, here] = one.basis.T @ (count[:, None] * one.basis)
        for j, two in enumerate(blocks[:k]):
            there = slice(ends[j], ends[j + 1])
            both = pair_counts(bins[k], bins[j], (len(one.basis), len(two.basis)), weight)
            gram[here, there] = one.basis.T @ (both @ two.basis)
            gram[there, here] = gram[here, there].T
    return gram


def main_moment(bins: Tensor, blocks: list[Block], residual: Tensor) -> Tensor:
    """Inner products (1 + R,) of the intercept and all basis columns with values (N,) of the rows."""
    parts = [residual.sum()[None]]
    parts += [
        torch.bincount(one, residual, minlength=len(block.basis)) @ block.basis
        for one, block in zip(bins, blocks, strict=True)
    ]
    return torch.cat(parts)


def coarse_bins(column: BinColumn, count: Tensor, most: int) -> tuple[Tensor, BinColumn]:
    """Merges neighbouring bins of a number to at most `most` intervals with about as many rows each.

    Args:
        column: what the column is. Categories are not merged.
        count: (bins,) rows in each bin.
        most: number of intervals.

    Returns:
        (bins,) the merged bin of each bin, and the merged column.
    """
    n = column.intervals
    if n <= most:
        return torch.arange(column.bins), column
    middle = count[:n].cumsum(0) - count[:n] / 2
    merged = torch.unique((middle / count[:n].sum() * most).long().clamp(max=most - 1), return_inverse=True)[1]
    bins = int(merged.max()) + 1 + column.missing
    return torch.cat([merged, torch.arange(bins - column.missing, bins)]), BinColumn(bins, True, column.missing)
