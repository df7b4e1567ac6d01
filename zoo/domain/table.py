"""Tables: rows of named numbers, or of raw columns that are encoded as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.domain.columns import Cell, Column
from zoo.domain.outliers import outlier
from zoo.utils.csv_files import TABLES, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.numbers import to_float

FEW = 3  # features, below which equal values are nothing unusual


@dataclass(frozen=True, kw_only=True)
class TableDomain(Domain):
    """Rows of a table, as tensors (F,) of F inputs.

    Either each input is a column of numbers (`features`, `mean`, `std`), or `columns` describe a raw table, whose
    columns have one or more inputs each.

    Attributes:
        features: names of the inputs, in order; with `columns`, theirs.
        mean: of each input; the tensor is (value - mean) / std. By default 0.
        std: of each input. By default 1.
        columns: of a raw table. By default each feature is a column of numbers.

    Raises:
        ValueError: duplicate names, or numbers that do not fit the features.
    """

    modality: ClassVar[str] = "table"
    noun: ClassVar[str] = "rows"
    endings: ClassVar[frozenset[str]] = TABLES
    features: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns:
            self._describe_inputs()
        count = len(self.features)
        if not count:
            raise ValueError("features must be one or more names; got none.")
        if len(set(self.features)) < count:
            twice = next(name for name in self.features if self.features.count(name) > 1)
            raise ValueError(f"two inputs have the name '{twice}'; rename a column.")
        object.__setattr__(self, "mean", self.mean or (0.0,) * count)
        object.__setattr__(self, "std", self.std or (1.0,) * count)
        if len(self.mean) != count or len(self.std) != count or min(self.std) <= 0:
            raise ValueError(
                f"mean and std need one number for each of {count} features, and std above 0; got {len(self.mean)} "
                f"and {len(self.std)}, smallest std {min(self.std)}."
            )

    def _describe_inputs(self) -> None:
        """Derives names, means and standard deviations of the inputs from the columns."""
        columns = tuple(Column.from_dict(column) for column in self.columns)
        scaling = [(c.centre, c.scale) if c.numeric and not c.knots else (0.0, 1.0) for c in columns]
        derived = {
            "columns": columns,
            "features": tuple(name for column in columns for name in column.inputs),
            "mean": tuple(m for c, (mean, _) in zip(columns, scaling, strict=True) for m in _first(mean, 0.0, c.width)),
            "std": tuple(s for c, (_, std) in zip(columns, scaling, strict=True) for s in _first(std, 1.0, c.width)),
        }
        for name, value in derived.items():
            if name != "columns" and getattr(self, name) not in ((), value):
                raise ValueError(f"{name} of a domain with columns follow from them; leave them out.")
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        plain = super().to_dict()
        derived = ("features", "mean", "std") if self.columns else ("columns",)
        return {key: value for key, value in plain.items() if key not in derived}

    @property
    def shape(self) -> tuple[int]:
        return (len(self.features),)

    @cached_property
    def layout(self) -> tuple[Column, ...]:
        """The K columns: those of the raw table, or one for each feature."""
        numbers = zip(self.features, self.mean, self.std, strict=True)
        return self.columns or tuple(Column(name=name, centre=mean, scale=std) for name, mean, std in numbers)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the inputs of each column are."""
        ends = accumulate(column.width for column in self.layout)
        return tuple(slice(end - column.width, end) for end, column in zip(ends, self.layout, strict=True))

    @property
    def indicators(self) -> tuple[bool, ...]:
        """Which of the F inputs are 0 or 1 for a level or a missing code."""
        return tuple(i > 0 or not c.numeric for c in self.layout for i in range(c.width))

    def preprocess(self, values: Mapping[str, Cell]) -> Tensor:
        """Converts a row of named values, numbers or their texts, to an input (F,).

        Raises:
            ValueError: a column is missing, or its value does not fit; the message names it.
        """
        parsed = []
        for column in self.layout:
            if column.source not in values:
                raise ValueError(
                    f"the row has no feature '{column.source}'; {did_you_mean(column.source, list(values))}"
                )
            try:
                parsed.append(column.encode(values[column.source]))
            except ValueError as error:
                raise ValueError(f"feature '{column.source}' {error}.") from None
        x = self.encode(torch.tensor([[one.value for one in parsed]]), torch.tensor([[one.hot for one in parsed]]))[0]
        if not bool(x.isfinite().all()):
            place = int((~x.isfinite()).nonzero()[0])
            name = next(c.source for c, s in zip(self.layout, self.slices, strict=True) if s.start == place)
            raise ValueError(f"feature '{name}' is {values[name]}, which overflows when it is normalised; correct it.")
        return x

    def encode(self, values: Tensor, hot: Tensor) -> Tensor:
        """Inputs (B, F) of encoded cells.

        Args:
            values: (B, K), see `Encoded.value`.
            hot: (B, K) whole numbers, see `Encoded.hot`.
        """
        starts = torch.tensor([s.start for s in self.slices])
        numeric = torch.tensor([column.numeric for column in self.layout])
        x = values.new_zeros(values.shape[0], len(self.features), dtype=torch.float32)
        x[:, starts[numeric]] = values[:, numeric].float()
        rows, columns = (hot >= 0).nonzero(as_tuple=True)
        x[rows, starts[columns] + hot[rows, columns].long()] = 1.0
        return x

    def normalise(self, values: Tensor) -> Tensor:
        """Normalises values (..., F) of the inputs."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Converts inputs (..., F) back to values of the inputs."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def cells(self, x: Tensor) -> dict[str, str]:
        """The raw values of an input (F,) as text, by name of the column."""
        inputs = x.detach().cpu().double().tolist()
        return {c.name: c.show(inputs[s]) for c, s in zip(self.layout, self.slices, strict=True)}

    def row(self, x: Tensor) -> dict[str, float | str]:
        """The raw values of an input (F,), numbers as numbers, by name of the column."""
        inputs = x.detach().cpu().double().tolist()
        return {c.name: c.value(inputs[s]) for c, s in zip(self.layout, self.slices, strict=True)}

    def columns_of(self, support: Tensor) -> list[str]:
        """Names of the columns of which any input is in a support (F,)."""
        inside = support.tolist()
        return [c.name for c, s in zip(self.layout, self.slices, strict=True) if any(inside[s])]

    def warnings(self, raw: Mapping[str, Cell], x: Tensor) -> list[str]:
        found = [
            f"'{column.name}' is '{raw[column.source]}', which did not occur in the training data."
            for column in self.columns
            if not column.is_known(raw[column.source])
        ]
        known = self.std != (1.0,) * len(self.features)  # by default, nothing is known of the training data
        numbers = [s.start for column, s in zip(self.layout, self.slices, strict=True) if column.numeric]
        names = [self.features[i] for i in numbers]
        values = self.values(x)[numbers]
        if known and numbers:
            found += outlier(x[numbers], names, values)
        if not self.columns and len(values) >= FEW and len({to_float(raw[name]) for name in names}) == 1:
            found.append(f"All {len(values)} values of the row are equal ({float(values[0]):g}).")
        return found

    def raw(self, path: str | Path) -> dict[str, str]:
        """The row of a CSV with a header and one row.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file does not have exactly one row.
        """
        rows = self.rows(path)
        if len(rows) != 1:
            raise ValueError(f"{path} has {len(rows)} rows; expected a header and one row.")
        return rows[0]

    def rows(self, path: str | Path) -> list[dict[str, str]]:
        return [row.cells for row in read_table(Path(path)).rows]


def _first(value: float, others: float, count: int) -> tuple[float, ...]:
    """`count` numbers: the first is `value`, all further ones are `others`."""
    return (value, *[others] * (count - 1))
