"""Time series of several variables."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain.base import Domain
from zoo.domain.outliers import outlier
from zoo.domain.series_files import read_npy, read_steps, read_ts, read_tsv, read_wide
from zoo.utils.csv_files import TABLES, columns_of, read_table
from zoo.utils.paths import check_file

UNEVEN = ("refuse", "zero", "last", "resample")


@dataclass(frozen=True, kw_only=True)
class SeriesDomain(Domain):
    """Series of T steps of V variables, as tensors (T, V).

    Attributes:
        variables: names of the columns, in order.
        length: T.
        mean: of each variable; the tensor is (value - mean) / std. By default 0.
        std: of each variable. By default 1.
        step: time between two steps, for the time axis of pages.
        unit: of that time, such as "s".
        uneven: how series of another length are handled. "refuse": an error; "zero": padded at the end with the mean
            (0 after normalisation); "last": padded with the last values; both truncate longer series. "resample":
            interpolated linearly from the first to the last step.
        columns: names of the steps in a table with one series of a single variable per row; empty if the data do not
            come from such a table.

    Raises:
        ValueError: duplicate names, numbers out of range, or an unknown choice.
    """

    modality: ClassVar[str] = "series"
    noun: ClassVar[str] = "series"
    endings: ClassVar[frozenset[str]] = frozenset({".npy", ".ts", *TABLES})
    variables: tuple[str, ...]
    length: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    step: float = 1.0
    unit: str = "step"
    uneven: str = "refuse"
    columns: tuple[str, ...] = ()

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
        if not (self.step > 0 and math.isfinite(self.step)):
            raise ValueError(f"step must be a time above 0; got {self.step}.")
        if self.uneven not in UNEVEN:
            raise ValueError(f"uneven must be one of {', '.join(UNEVEN)}; got '{self.uneven}'.")

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, len(self.variables)

    def preprocess(self, values: Tensor) -> Tensor:
        """Converts raw values (S, V), of any length S that `uneven` allows, to an input (T, V).

        Raises:
            ValueError: another number of variables, no steps, values that are not finite, or another length where that
                is refused.
        """
        if values.ndim != 2 or values.shape[1] != len(self.variables):
            raise ValueError(
                f"a series is (steps, {len(self.variables)}), a column for each of {', '.join(self.variables)}; got "
                f"{tuple(values.shape)}."
            )
        steps = len(values)
        if steps == 0 or (self.uneven == "refuse" and steps != self.length):
            raise ValueError(
                f"a series of {steps} steps; expected {self.length}. Truncate, pad or resample it, or train with data "
                "whose option `uneven` does so."
            )
        if not bool(torch.isfinite(values).all()):
            place, column = (~torch.isfinite(values)).nonzero()[0].tolist()
            raise ValueError(f"step {place + 1} of '{self.variables[column]}' is NaN or infinite; clean the series.")
        x = self.normalise(values)
        if not bool(torch.isfinite(x).all()):
            place, column = (~torch.isfinite(x)).nonzero()[0].tolist()
            raise ValueError(
                f"step {place + 1} of '{self.variables[column]}' is {float(values[place, column])}, which overflows "
                "when it is normalised; correct it."
            )
        if steps == self.length:
            return x
        if self.uneven == "resample":
            return F.interpolate(x.mT[None], self.length, mode="linear", align_corners=True)[0].mT
        missing = max(self.length - steps, 0)
        rest = x[-1:] if self.uneven == "last" else torch.zeros_like(x[-1:])
        return torch.cat([x[: self.length], rest.expand(missing, -1)])

    def normalise(self, values: Tensor) -> Tensor:
        """Normalises raw values (..., T, V)."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Converts inputs (..., T, V) back to raw values."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def warnings(self, raw: Tensor, x: Tensor) -> list[str]:
        known = self.std != (1.0,) * len(self.variables)  # by default, nothing is known of the training data
        found = outlier(x, self.variables, self.values(x)) if known else []
        if len(raw) > 1 and bool((raw == raw[0]).all()):
            found.append("All steps of the series are equal.")
        if len(raw) > self.length and self.uneven != "resample":
            found.append(f"The series has {len(raw)} steps; the model reads the first {self.length}.")
        return found

    def raw(self, path: str | Path) -> Tensor:
        """Reads a file with one series into its values (S, V).

        The file is an NPY (S, V), a table with a column for each variable and a row for each step, or has a single row
        of the formats that `rows` reads.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a variable is missing, or a cell is not a finite number.
        """
        path = Path(path)
        check_file(path, "series")
        if path.suffix.lower() == ".npy":
            return read_npy(path, len(self.variables))
        if rows := self.rows(path):
            if len(rows) != 1:
                raise ValueError(f"{path} has {len(rows)} series; expected one.")
            return rows[0]
        return read_steps(path, self.variables)

    def rows(self, path: str | Path) -> list[Tensor]:
        """The series (S, V) of a file with one per row; empty if the file is a single series.

        Such a file is in the format of an archive (.ts, or .tsv without the names of the variables), or is a table with
        all of `columns`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".ts":
            return read_ts(path)[0]
        if ending not in TABLES:
            return []
        columns = columns_of(path)
        if self.columns and set(self.columns) <= set(columns):
            return read_wide(read_table(path, what="table of series").rows, self.columns)
        if ending == ".tsv" and not set(self.variables) <= set(columns):
            return read_tsv(path)[0]
        return []
