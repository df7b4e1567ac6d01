"""Blocks of an additive model: a basis over the cells of a table, and what is believed of its coefficients beforehand.

The table of a block is `basis @ coefficients`. Coefficients are independent and normal; the variance of coefficient c
is sum_m scale[m] * spectra[m, c]: one scale per component m, estimated from the data (`zoo.additive.layers.reml`).
Each component is normalised so that scale[m] is its mean variance over the cells: it means the same at any number of
bins.

A number with B bins has the cosines cos(pi i (b + 1/2) / B), i = 1 .. B - 1. They diagonalise the differences between
neighbouring bins: the penalty of first differences (a random walk) is the spectrum i^-2, that of second differences (a
cubic smoothing spline) is i^-4, and independent bins are the constant spectrum, which keeps spikes. A straight line
and the bins of missing codes have a component each. Levels of a category are independent (random effects).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT = torch.float64


@dataclass(frozen=True)
class Block:
    """A basis and the components of its prior.

    Attributes:
        basis: (cells, r).
        spectra: (m, r) >= 0.
        start: (m,) scales to start from. A constant spectrum starts low, since it is seldom needed and costs most.
    """

    basis: Tensor
    spectra: Tensor
    start: Tensor


@dataclass(frozen=True)
class BinColumn:
    """What the bins of a column are.

    Attributes:
        bins: number of bins, B, those of missing values included.
        ordered: whether the bins are intervals of a number in ascending order, the missing ones last; else levels.
        missing: number of bins of missing codes; 0 for levels.
    """

    bins: int
    ordered: bool
    missing: int = 0

    @property
    def intervals(self) -> int:
        """Bins that have an order."""
        return (self.bins - self.missing) if self.ordered else 0


def main_block(column: BinColumn) -> Block:
    """The block of one column."""
    basis, frequency = _marginal(column)
    if not column.ordered:
        ones = torch.ones(1, column.bins, dtype=FLOAT)
        return Block(basis, ones, 0.1 * ones[:, 0])
    waves = (frequency > 0).to(FLOAT)
    inverse = torch.where(frequency > 0, 1 / frequency.clamp(min=1), 0)
    line = torch.zeros(column.bins, 1, dtype=FLOAT)
    line[: column.intervals, 0] = torch.linspace(-1, 1, column.intervals, dtype=FLOAT)
    spectra = torch.stack([torch.zeros_like(waves), inverse**2, inverse**4, waves, 1 - waves])
    spectra = torch.cat([spectra, torch.eye(5, 1, dtype=FLOAT)], 1)
    basis = torch.cat([basis, line], 1)
    start = torch.tensor([0.03, 0.03, 0.001, 0.03, 0.3], dtype=FLOAT)
    used = spectra.sum(1) > 0
    return Block(basis, _normalised(basis, spectra[used]), start[used])


def pair_columns(first: BinColumn, second: BinColumn, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest products of two marginal bases.

    Returns:
        (r,) column of the first marginal basis, (r,) of the second, and spectra (m, r): a random walk in both
        directions (a sheet), the same with second differences, and a prior that treats both directions alike.
    """
    (one, f), (two, g) = _marginal(first), _marginal(second)
    f, g = f.clamp(min=1)[:, None], g.clamp(min=1)
    spectra = torch.stack([(f * g) ** -2, (f * g) ** -4, (f**2 + g**2) ** -1.5]).flatten(1)
    mass = torch.outer((one**2).mean(0), (two**2).mean(0)).flatten()
    spectra = spectra / (spectra @ mass)[:, None]
    chosen = (spectra[0::2].amax(0) * mass).topk(min(rank, len(mass))).indices
    return chosen // two.shape[1], chosen % two.shape[1], spectra[:, chosen]


def pair_block(first: BinColumn, second: BinColumn, cells: Tensor, rank: int) -> Block:
    """The block of some cells (row-major numbers) of the table of two columns."""
    i, j, spectra = pair_columns(first, second, rank)
    one, two = _marginal(first)[0], _marginal(second)[0]
    basis = one[cells // second.bins][:, i] * two[cells % second.bins][:, j]
    return Block(basis, spectra, torch.full((len(spectra),), 0.01, dtype=FLOAT))


def pair_table(first: BinColumn, second: BinColumn, coefficients: Tensor) -> Tensor:
    """The whole table (first.bins, second.bins) of the coefficients (r,) of a pair's block."""
    i, j, _ = pair_columns(first, second, len(coefficients))
    one, two = _marginal(first)[0], _marginal(second)[0]
    return (one[:, i] * coefficients.to(FLOAT)) @ two[:, j].T


def _marginal(column: BinColumn) -> tuple[Tensor, Tensor]:
    """Basis (bins, r) of a column without its constant, and the frequency (r,) of each; 0 for an indicator."""
    if not column.ordered:
        return torch.eye(column.bins, dtype=FLOAT), torch.zeros(column.bins, dtype=FLOAT)
    n = column.intervals
    waves = torch.arange(1, n, dtype=FLOAT)
    place = torch.arange(n, dtype=FLOAT) + 0.5
    cosines = math.sqrt(2) * torch.cos(math.pi / n * torch.outer(place, waves))
    basis = torch.block_diag(cosines, torch.eye(column.missing, dtype=FLOAT))
    return basis, torch.cat([waves, torch.zeros(column.missing, dtype=FLOAT)])


def _normalised(basis: Tensor, spectra: Tensor) -> Tensor:
    """Spectra whose mean variance over the cells is 1."""
    return spectra / (spectra @ (basis**2).mean(0))[:, None]
