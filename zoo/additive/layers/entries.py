"""Entries of curves: a representative input for each bin of each column, at which functions are sampled."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.additive.layers.bins import Bins
from zoo.core.curves import Axis
from zoo.domain import TableDomain


class Entries(nn.Module):
    """The bins of each column, the mean training input of each, and their shares of the training rows.

    Args:
        domain: of the table.
        most: largest number of bins of a column of numbers.

    Attributes:
        bins: found by `fit`.
        points: (K, most) mean training input in each bin of numbers.
        density: (K, S) share of the training rows in each bin; 0 before `fit`.
    """

    bins: Bins
    points: Tensor
    density: Tensor

    def __init__(self, domain: TableDomain, most: int) -> None:
        super().__init__()
        self.bins, self.slices = Bins(domain, most), domain.slices
        columns = domain.layout
        size = max(most + len(c.missing) if c.numeric else 1 + c.width for c in columns)
        self.register_buffer("points", torch.zeros(len(columns), most))
        self.register_buffer("density", torch.zeros(len(columns), size))

    def fit(self, inputs: Tensor) -> Tensor:
        """Finds bins, points and densities from training inputs (N, F); returns the bins of the rows (N, K)."""
        self.bins.fit(inputs)
        found = self.bins(inputs)
        counts = torch.zeros_like(self.density).scatter_add_(1, found.T, torch.ones_like(found.T, dtype=torch.float32))
        sums = torch.zeros_like(self.density).scatter_add_(1, found.T, inputs[:, self.bins.first].T.float())
        most = self.points.shape[1]
        self.points.copy_(sums[:, :most] / counts[:, :most].clamp_min(1))
        self.density.copy_(counts / len(inputs))
        return found

    def require_fitted(self, model: str) -> None:
        """Refuses to describe curves before the training set was measured.

        Raises:
            RuntimeError: `fit` has not run.
        """
        if not bool(self.density.any()):
            raise RuntimeError(
                f"the curves of {model} are not measured yet; train it with its recipe, whose last action measures "
                "them on the training set, or call that action."
            )

    def rows(self) -> Tensor:
        """(S, F): row s has in each column the input of its entry s; of its last entry, if it has fewer."""
        bins, device = self.bins, self.points.device
        counts, sizes = bins.counts, bins.sizes
        entry = torch.minimum(torch.arange(self.density.shape[1], device=device)[:, None], sizes - 1)  # (S, K)
        x = self.points.new_zeros(len(entry), len(bins.offsets))
        values = self.points.T.gather(0, entry.clamp_max(len(self.points.T) - 1))
        numbers = bins.numeric & (entry < counts)
        x[:, bins.first[bins.numeric]] = torch.where(numbers, values, 0.0)[:, bins.numeric]
        place, column = bins.offsets.max(1)  # of each indicator; the place of a number is 0
        return torch.where((place > 0) & (place == (entry - counts + 1)[:, column]), 1.0, x)

    def grid(self, rows: Tensor, first: int, second: int) -> Tensor:
        """(n * m, F): all pairs of the n entries of one column and the m of another, the second varying fastest."""
        n, m = self.bins.sizes[[first, second]].tolist()
        x = rows.new_zeros(n, m, rows.shape[1])
        x[:, :, self.slices[first]] = rows[:n, None, self.slices[first]]
        x[:, :, self.slices[second]] = rows[None, :m, self.slices[second]]
        return x.flatten(0, 1)

    def axes(self) -> tuple[Axis, ...]:
        """The axis of each column, whose numbers are points."""
        counts, axes = self.bins.counts.tolist(), []
        for column, axis, points, m in zip(self.bins.columns, self.bins.axes(), self.points, counts, strict=True):
            if column.numeric:
                places = tuple(column.unscaled(x) for x in points[:m].double().tolist())
                axis = replace(axis, kind="points", places=places)
            axes.append(axis)
        return tuple(axes)
