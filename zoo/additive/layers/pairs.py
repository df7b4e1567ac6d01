"""Pairs of an additive model: chosen by FAST, then fitted one after the other on what the rest leaves over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.additive.layers.blocks import FLOAT, BinColumn, Block, pair_block, pair_table
from zoo.additive.layers.counts import coarse_bins, pair_counts
from zoo.additive.layers.fast import rank_pairs
from zoo.additive.layers.purify import purify_pair
from zoo.additive.layers.reml import Posterior, solve, updated
from zoo.additive.layers.rows import Rows


@dataclass
class Pair:
    """A pair that is being fitted.

    Attributes:
        columns: numbers of its two columns.
        cell: (N,) the cell of each row among the occupied ones.
        block: basis over the occupied cells.
        coefficients: for each column of scores (r,).
        scales: for each column of scores (m,).
        freedom: effective degrees of freedom, for each column of scores.
        posteriors: of the coefficients, for each column of scores; None before the first step.
        gram: (r, r) of a regression, without the noise.
    """

    columns: tuple[int, int]
    cell: Tensor
    block: Block
    coefficients: list[Tensor]
    scales: list[Tensor]
    freedom: list[float]
    posteriors: list[Posterior | None]
    gram: Tensor | None = None


def ranked(rows: Rows, curves: Sequence[Tensor], most: int) -> list[tuple[int, int, float]]:
    """All pairs by FAST on the current residuals, the strongest first.

    Args:
        rows: with the scores of the main effects.
        curves: for each column (bins, C'); levels of a category are put in the order of the last column of scores.
        most: largest number of bins of a number.
    """
    derived = [rows.derivatives(output) for output in range(rows.outputs)]
    bins, sizes = [], []
    for k, column in enumerate(rows.columns):
        merged, small = coarse_bins(column, rows.counts(k), most)
        if not column.ordered:
            merged = curves[k][:, -1].argsort().argsort()
        bins.append(merged.to(torch.int32)[rows.bins[k]])
        sizes.append(small.bins)
    residual, curvature = (torch.stack([both[n] for both in derived], 1) for n in (0, 1))
    return rank_pairs(torch.stack(bins), sizes, residual, curvature)


class PairEffects:
    """The tables of some pairs, over merged bins.

    Args:
        rows: the rows.
        wanted: numbers of the columns of each pair.
        most: largest number of bins of a number.
        rank: largest number of basis functions of a pair.
        coarse: for each column (bins,) the merged bin of each bin; by default of about equally many rows.

    Attributes:
        coarse: for each column (bins,) the merged bin of each bin.
    """

    def __init__(
        self,
        rows: Rows,
        wanted: Sequence[tuple[int, int]],
        most: int,
        rank: int,
        coarse: Sequence[Tensor] | None = None,
    ) -> None:
        self.rows = rows
        if coarse is None:
            merged = [coarse_bins(column, rows.counts(k), most) for k, column in enumerate(rows.columns)]
        else:
            merged = [
                (bins, BinColumn(int(bins.max()) + 1, column.ordered, column.missing))
                for bins, column in zip(coarse, rows.columns, strict=True)
            ]
        self.coarse = [bins for bins, _ in merged]
        self.columns = [column for _, column in merged]
        self.pairs = [self._prepared(i, j, rank) for i, j in wanted]

    def _prepared(self, i: int, j: int, rank: int) -> Pair:
        one, two = self._bins(i), self._bins(j)
        occupied, cell = torch.unique(one * self.columns[j].bins + two, return_inverse=True)
        block = pair_block(self.columns[i], self.columns[j], occupied, rank)
        outputs = range(self.rows.outputs)
        zero = [torch.zeros(block.basis.shape[1], dtype=FLOAT) for _ in outputs]
        scales, freedom = [block.start for _ in outputs], [0.0 for _ in outputs]
        return Pair((i, j), cell.to(torch.int32), block, zero, scales, freedom, [None for _ in outputs])

    def _bins(self, k: int) -> Tensor:
        return self.coarse[k][self.rows.bins[k]]

    def freedom(self, output: int) -> float:
        """Effective degrees of freedom of one column of scores."""
        return sum(pair.freedom[output] for pair in self.pairs)

    def step(self, output: int, updates: int) -> None:
        """Renews each pair in turn for one column of scores, the others being fixed."""
        residual, curvature = self.rows.derivatives(output)
        for pair in self.pairs:
            basis, old = pair.block.basis, pair.coefficients[output]
            gram = self._gram(pair, curvature)
            moment = gram @ old + torch.bincount(pair.cell, residual, minlength=len(basis)) @ basis
            for _ in range(updates):
                posterior = solve(gram, moment, pair.scales[output] @ pair.block.spectra)
                pair.scales[output] = updated(pair.scales[output], pair.block, posterior, slice(None))
                pair.coefficients[output], pair.freedom[output] = posterior.mode, posterior.freedom
                pair.posteriors[output] = posterior
            delta = (basis @ (pair.coefficients[output] - old))[pair.cell]
            self.rows.score[:, output] += delta
            residual -= curvature * delta

    def _gram(self, pair: Pair, curvature: Tensor) -> Tensor:
        """Gram matrix of a pair's basis; that of a regression is kept, since the curvature of all rows is the same."""
        regression = self.rows.task == "regression"
        if pair.gram is None:
            weight = self.rows.weight if regression else curvature
            basis = pair.block.basis
            gram = basis.T @ (torch.bincount(pair.cell, weight, minlength=len(basis))[:, None] * basis)
            if not regression:
                return gram
            pair.gram = gram
        return pair.gram / self.rows.noise

    def screen(self, least: float) -> None:
        """Drops the pairs whose score test for a variance above 0 is not significant.

        The statistic of a component is sum_c spectra_c a_c^2, a the inner products of basis and residuals; without an
        interaction its mean is sum_c spectra_c G_cc and its variance 2 sum_cd spectra_c spectra_d G_cd^2.

        Args:
            least: standard deviations above the mean that one component must reach for one column of scores.
        """
        derived = [self.rows.derivatives(output) for output in range(self.rows.outputs)]
        self.pairs = [pair for pair in self.pairs if max(self._excess(pair, *both) for both in derived) >= least]

    def _excess(self, pair: Pair, residual: Tensor, curvature: Tensor) -> float:
        spectra, gram = pair.block.spectra, self._gram(pair, curvature)
        products = torch.bincount(pair.cell, residual, minlength=len(pair.block.basis)) @ pair.block.basis
        spread = (2 * ((spectra @ gram.square()) * spectra).sum(1)).sqrt().clamp(min=1e-12)
        return float((spectra @ (products.square() - gram.diagonal()) / spread).max())

    def table(self, pair: Pair) -> Tensor:
        """The table (merged bins, merged bins, C') of a pair."""
        one, two = (self.columns[k] for k in pair.columns)
        return torch.stack([pair_table(one, two, theta) for theta in pair.coefficients], 2)

    def errors(self, pair: Pair) -> Tensor:
        """Posterior standard errors (merged bins, merged bins, C') of the purified table, given the other effects.

        Purification is linear, so that of the basis functions gives the table's covariance.
        """
        one, two = (self.columns[k] for k in pair.columns)
        each = torch.eye(len(pair.coefficients[0]), dtype=FLOAT)
        basis, *_ = purify_pair(torch.stack([pair_table(one, two, row) for row in each], 2), self.density(pair))
        found = []
        for posterior in pair.posteriors:
            if posterior is None:
                return basis.new_zeros(*basis.shape[:2], len(pair.posteriors))
            found.append((basis[..., posterior.kept] @ posterior.root().T).square().sum(-1).sqrt())
        return torch.stack(found, 2)

    def density(self, pair: Pair) -> Tensor:
        """Weight of the rows in each cell of a pair's table."""
        i, j = pair.columns
        return pair_counts(self._bins(i), self._bins(j), (self.columns[i].bins, self.columns[j].bins), self.rows.weight)
