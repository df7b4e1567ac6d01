"""Series: several variables over time."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.hints import hint


@dataclass(frozen=True, kw_only=True)
class SeriesDomain(Domain):
    """Series of T steps of V variables: how named columns become a tensor (T, V), and how they come back.

    Attributes:
        variables: names of the columns, in order.
        length: T.
        mean, std: of each variable; the tensor is (value - mean) / std. By default 0 and 1.
    """

    modality: ClassVar[str] = "series"
    noun: ClassVar[str] = "series"
    variables: tuple[str, ...]
    length: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.variables)
        if len(set(self.variables)) < count or not count:
            raise ValueError(f"variables must be one or more different names; got {self.variables}.")
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}.")
        object.__setattr__(self, "mean", self.mean or (0.0,) * count)
        object.__setattr__(self, "std", self.std or (1.0,) * count)
        if len(self.mean) != count or len(self.std) != count or min(self.std) <= 0:
            raise ValueError(
                f"mean and std need one number for each of {count} variables, and std above 0; got {len(self.mean)} "
                f"and {len(self.std)}, smallest std {min(self.std)}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, len(self.variables)

    def normalise(self, values: Tensor) -> Tensor:
        """Raw values (..., T, V) as inputs."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Inputs (..., T, V) as the raw values they were made from."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def read(self, path: str | Path) -> Tensor:
        """Reads a CSV with a header of the variables and one line for each of the T steps into an input (T, V).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a variable is missing, a cell is no finite number, or there are not T lines.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no series at {path}.")
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            found = list(reader.fieldnames or [])
            for name in self.variables:
                if name not in found:
                    raise ValueError(f"{path} has no variable '{name}'; {hint(name, found)}")
            lines = [
                [_number(row[name], path, line, name) for name in self.variables]
                for line, row in enumerate(reader, 2)  # the header is the first
            ]
        if len(lines) != self.length:
            raise ValueError(f"{path} has {len(lines)} steps; expected {self.length}, one line each after the header.")
        return self.normalise(torch.tensor(lines))


def _number(cell: str | None, path: Path, line: int, variable: str) -> float:
    try:
        number = float(cell or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}, line {line}: '{variable}' must be a finite number; got {cell!r}.")
    return number
