"""Binary features of the rows of a table: "age >= 35", "job = clerk", "age is missing"."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.additive.layers.bins import edges_of
from zoo.core.curves import Axis
from zoo.domain import TableDomain


class Literals(nn.Module):
    """Conditions on inputs of a table: an input is at least a threshold, and its column is not missing.

    Args:
        domain: of the table.
    """

    codes: Tensor
    numbers: Tensor

    def __init__(self, domain: TableDomain) -> None:
        super().__init__()
        self.domain, self.width = domain, len(domain.features)
        self.columns = [
            (column, block) for column, block in zip(domain.layout, domain.slices, strict=True) for _ in column.inputs
        ]  # of each input
        codes = [f for f, (column, s) in enumerate(self.columns) if column.numeric and f > s.start]
        numbers = [self.columns[f][1].start for f in codes]
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.long), persistent=False)
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.long), persistent=False)  # of each code

    def candidates(self, x: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Inputs (P,) and thresholds (P,) of all literals that hold for some training rows (N, F) and not for others.

        Args:
            x: training rows.
            most: largest number of thresholds of a column of numbers, at quantiles; they are values of the rows.
        """
        missing = self._missing(x)
        inputs, thresholds = [], []
        for f in range(self.width):
            if self._is_number(f):
                values = x[~missing[:, f], f]
                levels = values.unique()
                found = levels[torch.searchsorted(levels, edges_of(values, most + 1))]
            else:
                found = x.new_tensor([0.5])
            inputs.append(torch.full((len(found),), f, device=x.device))
            thresholds.append(found)
        every, at = torch.cat(inputs), torch.cat(thresholds)
        share = torch.cat([self(x, e, a).mean(0) for e, a in zip(every.split(64), at.split(64), strict=True)])
        varies = (share > 0) & (share < 1)
        return every[varies], at[varies]

    def forward(self, x: Tensor, inputs: Tensor, thresholds: Tensor) -> Tensor:
        """(B, k) in {0, 1}: which literals hold in rows (B, F)."""
        return ((x[:, inputs] >= thresholds) & ~self._missing(x)[:, inputs]).to(x.dtype)

    def _missing(self, x: Tensor) -> Tensor:
        """(B, F): whether an input is a number that is missing."""
        return torch.zeros_like(x).index_add(1, self.numbers, x[:, self.codes]) > 0.5

    def support(self, inputs: Tensor) -> Tensor:
        """(k, F) in {0, 1}: the inputs that each literal reads."""
        own = F.one_hot(inputs, self.width).float()
        return own.index_add(1, self.codes, (inputs[:, None] == self.numbers).float())

    def text(self, input: int, threshold: float) -> str:
        """A literal in raw values."""
        if not self._is_number(input):
            return self.domain.features[input]
        column = self.columns[input][0]
        value = column.unscaled(threshold)
        shown = column.levels[round(value)] if column.kind == "ordered" else f"{value:.6g}"
        return f"{column.name} >= {shown}"

    def axis(self, input: int, threshold: float) -> tuple[Axis, Tensor]:
        """The axis of a literal as a function of its column, and whether it holds in each entry (n,), 0 or 1."""
        column, block = self.columns[input]
        number = self._is_number(input)
        labels = column.missing_labels if column.numeric else ("(unknown)", *column.levels, *column.missing_labels)
        places = (column.unscaled(threshold),) if number else ()
        axis = Axis(column.name, "steps" if column.numeric else "levels", places, labels)
        holds = torch.zeros(len(axis))
        holds[1 if number else 1 + input - block.start - int(column.numeric)] = 1.0
        return axis, holds

    def entries(self, x: Tensor, input: int, threshold: float) -> Tensor:
        """(N,): in which entry of the axis of a literal rows (N, F) are."""
        column, block = self.columns[input]
        number = self._is_number(input)
        plain = (x[:, input] >= threshold).long() if number else torch.zeros_like(x[:, 0], dtype=torch.long)
        indicators = F.pad(x[:, block][:, int(column.numeric) :], (1, 0))  # never without a column
        place = (indicators > 0.5).long().argmax(1)  # from 1; 0 if none holds
        return torch.where(place > 0, int(number) + place, plain)

    def _is_number(self, input: int) -> bool:
        """Whether an input is a number, and no indicator."""
        column, block = self.columns[input]
        return column.numeric and input == block.start
