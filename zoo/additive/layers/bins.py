"""Numbers of bins: each column of a table as one whole number.

A column of numbers has m bins between m - 1 edges, and a bin for each missing code. A category has bin 0 for levels
that did not occur in the training data, one bin for each level and one for each missing code.
"""

import torch
from torch import Tensor, nn

from zoo.core.curves import Axis
from zoo.domain import Column, TableDomain

PADDING = torch.finfo(torch.float32).max


class Bins(nn.Module):
    """Converts inputs (B, F) of a table to numbers of bins (B, K).

    Args:
        domain: of the table.
        most: largest number of bins of a column of numbers; the edges are found by `fit`.

    Attributes:
        edges: (K, most - 1) in inputs, padded with the largest number; a value equal to an edge is above it.
    """

    edges: Tensor
    first: Tensor
    offsets: Tensor
    last: Tensor
    numeric: Tensor

    def __init__(self, domain: TableDomain, most: int) -> None:
        super().__init__()
        self.domain, self.columns, self.most = domain, domain.layout, most
        slices = domain.slices
        self.register_buffer("edges", torch.full((len(self.columns), most - 1), PADDING))
        self.register_buffer("first", torch.tensor([s.start for s in slices]), persistent=False)
        self.register_buffer("numeric", torch.tensor([c.numeric for c in self.columns]), persistent=False)
        offsets = torch.zeros(slices[-1].stop, len(self.columns))  # an indicator's place in its column, from 1
        for k, (column, place) in enumerate(zip(self.columns, slices, strict=True)):
            skip = int(column.numeric)
            offsets[place.start + skip : place.stop, k] = torch.arange(1.0, column.width - skip + 1)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("last", offsets.amax(0).long(), persistent=False)  # indicators of each column

    @property
    def counts(self) -> Tensor:
        """(K,) m, the bins of numbers of each column; 1 of a category, for unknown levels."""
        finite = (self.edges < PADDING).sum(1) + 1
        return torch.where(self.numeric, finite, 1)

    @property
    def sizes(self) -> Tensor:
        """(K,) bins of each column."""
        return self.counts + torch.tensor([_indicators(c) for c in self.columns], device=self.edges.device)

    def fit(self, inputs: Tensor, most: int | None = None) -> None:
        """Finds edges from training inputs (N, F): midpoints between quantiles.

        Args:
            inputs: of the training rows.
            most: largest number of bins of a column of numbers, up to that of the constructor, which is the default. A
                column with at most as many different values gets a bin for each of them.
        """
        self.edges.fill_(PADDING)
        for k in self.numeric.nonzero().flatten().tolist():
            block = inputs[:, self.first[k] :][:, : self.columns[k].width]
            present = block[:, 1:].sum(1) < 0.5
            found = edges_of(block[present, 0], min(most or self.most, self.most))
            self.edges[k, : len(found)] = found.to(self.edges)

    def forward(self, x: Tensor) -> Tensor:
        position = torch.searchsorted(self.edges, x[:, self.first].T.contiguous(), right=True).T
        indicator = torch.minimum((x @ self.offsets).round().long(), self.last)  # inputs may be no rows, such as noise
        without = torch.where(self.numeric, position, 0)
        return torch.where(indicator > 0, self.counts - 1 + indicator, without)

    def axes(self) -> tuple[Axis, ...]:
        """The axis of the curve of each column, in raw values."""
        axes = []
        for column, edges in zip(self.columns, self.edges.double().cpu(), strict=True):
            if column.kind == "category":
                axes.append(Axis(column.name, "levels", (), ("(unknown)", *column.levels, *column.missing_labels)))
            else:
                places = tuple(column.unscaled(e) for e in edges[edges < PADDING].tolist())
                axes.append(Axis(column.name, "steps", places, column.missing_labels))
        return tuple(axes)


def edges_of(values: Tensor, most: int) -> Tensor:
    """At most `most` - 1 increasing edges between different values (N,).

    Of at most `most` different values each has a bin. Otherwise a value that is as frequent as two bins has its own,
    and the other bins have about equally many of the other values.
    """
    if not len(values):
        return values
    levels, counts = values.unique(return_counts=True)
    between = (levels[1:] + levels[:-1]) / 2
    between = torch.where(between > levels[:-1], between, levels[1:])  # neighbouring floats have no midpoint
    if len(levels) <= most:
        return between
    frequent = counts * most >= 2 * len(values)
    kept = frequent[1:] | frequent[:-1]
    others = torch.where(frequent, 0, counts).cumsum(0)
    bins = most - 2 * int(frequent.sum())
    if bins > 1 and int(others[-1]):
        wanted = torch.arange(1, bins, dtype=torch.double, device=values.device) / bins
        places = torch.searchsorted(others.double() / others[-1], wanted)
        kept[places.clamp_max(len(between) - 1)] = True
    return between[kept]


def _indicators(column: Column) -> int:
    return column.width - int(column.numeric)
