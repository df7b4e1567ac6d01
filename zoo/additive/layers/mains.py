"""All main effects of an additive model, solved jointly by Newton steps."""

import itertools

import torch
from torch import Tensor

from zoo.additive.layers.blocks import FLOAT, main_block
from zoo.additive.layers.counts import main_gram, main_moment
from zoo.additive.layers.reml import Posterior, solve, updated
from zoo.additive.layers.rows import Rows

FREE = 1e4  # prior variance of the intercept


class MainEffects:
    """The intercept and the curve of each column.

    The histograms behind the Gram matrix need one pass over the rows for each pair of columns. For a regression they
    are made once, since the curvature of all rows stays the same.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.blocks = [main_block(column) for column in rows.columns]
        ends = torch.tensor([1] + [block.basis.shape[1] for block in self.blocks]).cumsum(0).tolist()
        self.places = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self.coefficients = [torch.zeros(ends[-1], dtype=FLOAT) for _ in range(rows.outputs)]
        self.scales = [[block.start for block in self.blocks] for _ in range(rows.outputs)]
        self.posteriors: list[Posterior | None] = [None] * rows.outputs
        self.gram: Tensor | None = None
        self.fixed: dict[int, tuple[Tensor, Tensor]] = {}

    def freedom(self, output: int) -> float:
        """Effective degrees of freedom of one column of scores."""
        posterior = self.posteriors[output]
        return posterior.freedom if posterior else 1.0

    def step(self, output: int, updates: int) -> float:
        """One Newton step for a column of scores, with some updates of the scales.

        Returns:
            Mean absolute change of the scores.
        """
        rows = self.rows
        residual, curvature = rows.derivatives(output)
        gram = self._gram(curvature)
        old = self.coefficients[output]
        moment = gram @ old + main_moment(rows.bins, self.blocks, residual)
        scales = self.scales[output]
        for _ in range(updates):
            parts = [
                scale @ block.spectra * (k not in self.fixed)
                for k, (scale, block) in enumerate(zip(scales, self.blocks, strict=True))
            ]
            posterior = solve(gram, moment, torch.cat([torch.full((1,), FREE, dtype=FLOAT), *parts]))
            for k, (place, block) in enumerate(zip(self.places, self.blocks, strict=True)):
                scales[k] = updated(scales[k], block, posterior, place)
            self.coefficients[output], self.posteriors[output] = posterior.mode, posterior
        change = self.coefficients[output] - old
        delta = change[0].expand(len(rows.target)).clone()
        for k, (place, block) in enumerate(zip(self.places, self.blocks, strict=True)):
            delta += (block.basis @ change[place])[rows.bins[k]]
        rows.score[:, output] += delta
        return float(delta.abs() @ rows.weight) / rows.total

    def _gram(self, curvature: Tensor) -> Tensor:
        if self.rows.task != "regression":
            return main_gram(self.rows.bins, self.blocks, curvature)
        if self.gram is None:
            self.gram = main_gram(self.rows.bins, self.blocks, self.rows.weight)
        return self.gram / self.rows.noise

    def leave_out(self, k: int) -> None:
        """Keeps the curve of a column at 0, before the first step."""
        zero = torch.zeros(self.rows.columns[k].bins, self.rows.outputs, dtype=FLOAT)
        self.fixed[k] = (zero, zero)

    def fix(self, k: int, curve: Tensor) -> None:
        """Replaces the curve of a column by a given one (bins, C'), which later steps leave as it is."""
        errors = self.errors(k)
        self.rows.score += (curve - self.curve(k))[self.rows.bins[k]]
        self.fixed[k] = (curve, errors)
        for theta in self.coefficients:
            theta[self.places[k]] = 0

    def curve(self, k: int) -> Tensor:
        """The curve (bins, C') of a column."""
        if k in self.fixed:
            return self.fixed[k][0]
        return torch.stack([self.blocks[k].basis @ theta[self.places[k]] for theta in self.coefficients], 1)

    def errors(self, k: int) -> Tensor:
        """Posterior standard errors (bins, C') of the curve of a column, less its mean over the rows."""
        if k in self.fixed:
            return self.fixed[k][1]
        basis, place = self.blocks[k].basis, self.places[k]
        count = self.rows.counts(k)
        basis = basis - count @ basis / count.sum()
        found = []
        for posterior in self.posteriors:
            if posterior is not None:
                inside = (posterior.kept >= place.start) & (posterior.kept < place.stop)
                columns = basis[:, posterior.kept[inside] - place.start]
                found.append((columns @ posterior.root()[:, inside].T).square().sum(1).sqrt())
        return torch.stack(found, 1)
