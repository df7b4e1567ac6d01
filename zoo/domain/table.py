"""Tables: rows of named numbers."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.utils.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class TableDomain(Domain):
    """Rows of F numbers: how named values become a tensor (F,), and how they come back.

    Attributes:
        features: names of the columns, in order.
        mean, std: of each column; the tensor is (value - mean) / std. By default 0 and 1.
    """

    modality: ClassVar[str] = "table"
    noun: ClassVar[str] = "rows"
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

    def preprocess(self, values: Mapping[str, float]) -> Tensor:
        """One row of named values as a normalised input (F,).

        Raises:
            ValueError: a feature is missing, or its value is no finite number; the message names it.
        """
        numbers = []
        for name in self.features:
            if name not in values:
                raise ValueError(f"the row has no feature '{name}'; {did_you_mean(name, list(values))}")
            try:
                number = float(values[name])
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise ValueError(f"feature '{name}' must be a finite number; got {values[name]!r}.")
            numbers.append(number)
        return self.normalise(torch.tensor(numbers))

    def normalise(self, values: Tensor) -> Tensor:
        """Raw values (..., F) as inputs."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Inputs (..., F) as the raw values they were made from."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def read(self, path: str | Path) -> Tensor:
        """Reads a CSV with a header and one row into an input (F,).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not exactly one row, or a row that does not fit.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no table at {path}.")
        with path.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
        if len(rows) != 1:
            raise ValueError(f"{path} has {len(rows)} rows; expected a header and one row.")
        try:
            return self.preprocess(rows[0])  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
