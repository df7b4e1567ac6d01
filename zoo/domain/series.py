"""Time series of several variables."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain.base import Domain
from zoo.utils.errors import did_you_mean

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

    Raises:
        ValueError: duplicate names, numbers out of range, or an unknown choice.
    """

    modality: ClassVar[str] = "series"
    noun: ClassVar[str] = "series"
    endings: ClassVar[frozenset[str]] = frozenset({".csv", ".npy"})
    variables: tuple[str, ...]
    length: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    step: float = 1.0
    unit: str = "step"
    uneven: str = "refuse"

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

    def read(self, path: str | Path) -> Tensor:
        """Reads a CSV with a header of the variables and one line for each step, or an NPY, into an input (T, V).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a variable is missing, a cell is not a finite number, or the shape does not fit.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no series at {path}.")
        if path.suffix.lower() == ".npy":
            try:
                return self.preprocess(_array(path, len(self.variables)))
            except ValueError as error:
                raise ValueError(f"{path} has {error}") from None
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            found = list(reader.fieldnames or [])
            for name in self.variables:
                if name not in found:
                    raise ValueError(f"{path} has no variable '{name}'; {did_you_mean(name, found)}")
            lines = [
                [_number(row[name], path, line, name) for name in self.variables]
                for line, row in enumerate(reader, 2)  # the header is the first
            ]
        try:
            return self.preprocess(torch.tensor(lines).view(-1, len(self.variables)))
        except ValueError as error:
            raise ValueError(f"{path} has {error}") from None


def _array(path: Path, variables: int) -> Tensor:
    """Reads the numbers (T, V) of an NPY file, or (T,) of a single variable; never unpickles."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"no plain numbers that NumPy can read ({error}).") from None
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ValueError(f"values of type {values.dtype}; expected real numbers.")
    values = values[:, None] if values.ndim == 1 and variables == 1 else values
    if values.ndim != 2 or values.shape[1] != variables:
        raise ValueError(f"shape {values.shape}; expected (steps, {variables}), a column for each variable.")
    if not np.isfinite(values).all():
        raise ValueError("NaN or infinite values; clean the series first.")
    return torch.from_numpy(values.astype(np.float32))


def _number(cell: str | None, path: Path, line: int, variable: str) -> float:
    try:
        number = float(cell or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}, line {line}: '{variable}' must be a finite number; got {cell!r}.")
    return number
