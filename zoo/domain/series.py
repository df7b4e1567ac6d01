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
from zoo.domain.series_arff import read_arff
from zoo.domain.series_files import read_npy, read_ts, read_tsv, read_wide
from zoo.domain.series_gaps import MISSING, TimedSeries, fill, regular, resample, steps_of, told
from zoo.domain.series_long import read_long
from zoo.utils.csv_files import TABLES, columns_of, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import check_file

UNEVEN = ("refuse", "zero", "last", "resample", "recent")


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
            interpolated linearly from the first to the last step. "recent": the last T steps; a shorter series is an
            error.
        missing: how missing values, NaN, are handled. "refuse": an error; "interpolate", "previous" or "mean": see
            `zoo.domain.series_gaps.fill`.
        columns: names of the steps in a table with one series of a single variable per row; empty if the data do not
            come from such a table.
        name: in a table with a row for each step of several series, the column that tells which series a row belongs
            to; empty if the data do not come from such a table.
        time: column of the times of measurements; where they are not `step` apart, the series is resampled. Empty:
            rows are steps.
        horizon: number H of future steps if the values to predict are those of each variable; the classes are then
            all H steps of the first variable, those of the second, and so on. 0 for other tasks.

    Raises:
        ValueError: duplicate names, numbers out of range, or an unknown choice.
    """

    modality: ClassVar[str] = "series"
    noun: ClassVar[str] = "series"
    endings: ClassVar[frozenset[str]] = frozenset({".npy", ".ts", ".arff", *TABLES})
    variables: tuple[str, ...]
    length: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    step: float = 1.0
    unit: str = "step"
    uneven: str = "refuse"
    missing: str = "refuse"
    columns: tuple[str, ...] = ()
    name: str = ""
    time: str = ""
    horizon: int = 0

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
        for what, value, known in (("uneven", self.uneven, UNEVEN), ("missing", self.missing, MISSING)):
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}; got '{value}'.")
        if self.horizon and len(self.classes) != self.horizon * count:
            raise ValueError(
                f"{self.horizon} future steps of {count} variables are {self.horizon * count} values; got "
                f"{len(self.classes)} names."
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, len(self.variables)

    def preprocess(self, values: Tensor | TimedSeries) -> Tensor:
        """Converts raw values (S, V), of any length S that `uneven` allows, to an input (T, V).

        Raises:
            ValueError: another number of variables, no steps, values that are not finite, or another length where that
                is refused.
        """
        values, times = values if isinstance(values, TimedSeries) else (values, None)
        if values.ndim != 2 or values.shape[1] != len(self.variables):
            raise ValueError(
                f"a series is (steps, {len(self.variables)}), a column for each of {', '.join(self.variables)}; got "
                f"{tuple(values.shape)}."
            )
        values = self._filled(values, times)
        if times is not None and len(times) > 1 and not regular(times, self.step):
            values = resample(TimedSeries(values, times), self.step)
        steps = len(values)
        short = self.uneven == "recent" and steps < self.length
        if steps == 0 or short or (self.uneven == "refuse" and steps != self.length):
            raise ValueError(
                f"a series of {steps} steps; expected {self.length}{' or more' if short else ''}. "
                + ("" if short else "Truncate, pad or resample it, or train with data whose option `uneven` does so.")
            )
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
        if self.uneven == "recent":
            return x[-self.length :]
        missing = max(self.length - steps, 0)
        rest = x[-1:] if self.uneven == "last" else torch.zeros_like(x[-1:])
        return torch.cat([x[: self.length], rest.expand(missing, -1)])

    def _filled(self, values: Tensor, times: Tensor | None) -> Tensor:
        """The series (S, V) without missing values."""
        strange = values.isinf() if self.missing != "refuse" else ~values.isfinite()
        if bool(strange.any()):
            place, column = strange.nonzero()[0].tolist()
            remedy = ", or train with data whose option `missing` fills gaps" if self.missing == "refuse" else ""
            raise ValueError(
                f"step {place + 1} of '{self.variables[column]}' is NaN or infinite; clean the series{remedy}."
            )
        return fill(values, self.missing, self.mean, self.variables, times) if bool(values.isnan().any()) else values

    def normalise(self, values: Tensor) -> Tensor:
        """Normalises raw values (..., T, V)."""
        return (values.float() - torch.tensor(self.mean)) / torch.tensor(self.std)

    def values(self, x: Tensor) -> Tensor:
        """Converts inputs (..., T, V) back to raw values."""
        return x.float() * torch.tensor(self.std, device=x.device) + torch.tensor(self.mean, device=x.device)

    def warnings(self, raw: Tensor | TimedSeries, x: Tensor) -> list[str]:
        known = self.std != (1.0,) * len(self.variables)  # by default, nothing is known of the training data
        found = outlier(x, self.variables, self.values(x)) if known else []
        found += told(raw, self.missing, self.step, self.unit).values()
        values = raw.values if isinstance(raw, TimedSeries) else raw
        if len(values) > 1 and bool((values == values[0]).all()):
            found.append("All steps of the series are equal.")
        if (steps := steps_of(raw, self.step)) > self.length and self.uneven in ("zero", "last"):
            found.append(f"The series has {steps} steps; the model reads the first {self.length}.")
        return found

    def raw(self, path: str | Path) -> Tensor | TimedSeries:
        """Reads a file with one series into its values (S, V), with their times if there is a column of times.

        The file is a table with a column for each variable and a row for each step, or has a single series in one of
        the formats that `rows` reads.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a variable is missing, or a cell is not a finite number.
        """
        path = Path(path)
        check_file(path, "series")
        if rows := self.rows(path):
            if len(rows) != 1:
                raise ValueError(f"{path} has {len(rows)} series; expected one.")
            return rows[0]
        table = read_table(path, what="series")
        for variable in self.variables:
            if variable not in table.columns:
                raise ValueError(f"{path} has no variable '{variable}'; {did_you_mean(variable, table.columns)}")
        timed = self.time if self.time in table.columns else ""
        found = read_long(table, self.variables, "", timed, self.unit, self.missing != "refuse")
        if not found:
            return torch.empty(0, len(self.variables))
        return found[0].series if timed else found[0].series.values

    def rows(self, path: str | Path) -> list[Tensor] | list[TimedSeries]:
        """The series (S, V) of a file with several; empty if the file is a table of a single one.

        Such a file is in the format of an archive (.ts, .arff, or .tsv without the names of the variables), an NPY, or
        a table with all of `columns`, or with the column `name`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read.
        """
        path = Path(path)
        ending, gaps = path.suffix.lower(), self.missing != "refuse"
        if ending == ".npy":
            return read_npy(path, len(self.variables), gaps)
        if ending in (".ts", ".arff"):
            return (read_ts if ending == ".ts" else read_arff)(path, gaps)[0]
        if ending not in TABLES:
            return []
        columns = columns_of(path)
        if self.columns and set(self.columns) <= set(columns):
            return read_wide(read_table(path, what="table of series").rows, self.columns, gaps)
        if self.name and self.name in columns:
            table = read_table(path, what="table of series")
            found = [one.series for one in read_long(table, self.variables, self.name, self.time, self.unit, gaps)]
            return found if self.time else [one.values for one in found]
        if ending == ".tsv" and not set(self.variables) <= set(columns):
            return read_tsv(path, gaps)[0]
        return []
