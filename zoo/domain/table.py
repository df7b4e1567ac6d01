"""Tables: rows of named numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.domain.outliers import outlier
from zoo.utils.csv_files import TABLES, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.numbers import to_float

FEW = 3  # features, below which equal values are nothing unusual


@dataclass(frozen=True, kw_only=True)
class TableDomain(Domain):
    """Rows of F named numbers, as tensors (F,).

    Attributes:
        features: names of the columns, in order.
        mean: of each column; the tensor is (value - mean) / std. By default 0.
        std: of each column. By default 1.

    Raises:
        ValueError: duplicate names, or numbers that do not fit the features.
    """

    modality: ClassVar[str] = "table"
    noun: ClassVar[str] = "rows"
    endings: ClassVar[frozenset[str]] = TABLES
    features: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.features)
        if len(set(self.features)) < count or not count:
            raise ValueError(f"features must be one or more different names; got {self.features}.")
        object.__setattr__(self, "mean", self.mean or (0.0,) * count)
        object.__setattr__(self, "std", self.std or (1.0,) * count)
        if len(self.mean) != count or len(self.std) != count or min(self.std) <= 0:
            raise ValueError(
                f"mean and std need one number for each of {count} features, and std above 0; got {len(self.mean)} "
                f"and {len(self.std)}, smallest std {min(self.std)}."
            )

    @property
    def shape(self) -> tuple[int]:
        return (len(self.features),)

    def preprocess(self, values: Mapping[str, float | str | None]) -> Tensor:
        """Converts a row of named values, numbers or their texts, to an input (F,).

        Raises:
            ValueError: a feature is missing, or its value is not a finite number; the message names it.
        """
        numbers = []
        for name in self.features:
            if name not in values:
                raise ValueError(f"the row has no feature '{name}'; {did_you_mean(name, list(values))}")
            try:
                numbers.append(to_float(values[name]))
            except ValueError as error:
                raise ValueError(f"feature '{name}' {error}.") from None
        x = self.normalise(torch.tensor(numbers))
        if not bool(x.isfinite().all()):
            name = self.features[int((~x.isfinite()).nonzero()[0])]
            raise ValueError(f"feature '{name}' is {values[name]}, which overflows when it is normalised; correct it.")
        return x

    def normalise(self, values: Tensor) -> Tensor:
        """Normalises raw values (..., F)."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Converts inputs (..., F) back to raw values."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def warnings(self, raw: Mapping[str, float | str | None], x: Tensor) -> list[str]:
        known = self.std != (1.0,) * len(self.features)  # by default, nothing is known of the training data
        numbers = [to_float(raw[name]) for name in self.features]
        found = outlier(x, self.features, torch.tensor(numbers)) if known else []
        if len(numbers) >= FEW and len(set(numbers)) == 1:
            found.append(f"All {len(numbers)} values of the row are equal ({numbers[0]:g}).")
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
