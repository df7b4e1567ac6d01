"""Files of time series: NPY, tables, and the formats of the UCR and UEA archives."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.utils.csv_files import TableRow, read_records, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import check_file, read_text

Labelled = tuple[list[Tensor], list[str]]  # series (S, V) of any length S, and their labels


def read_npy(path: Path, variables: int) -> Tensor:
    """Reads the numbers (T, V) of an NPY file, or (T,) of a single variable; never unpickles.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an NPY file of finite real numbers in this shape.
    """
    check_file(path, "series")
    try:
        with path.open("rb") as opened:
            np.lib.format.read_magic(opened)  # refuses an NPZ, which `np.load` would open
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false size in the header takes no memory
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not an NPY file of plain numbers ({error}).") from None
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ValueError(f"{path} has values of type {values.dtype}; expected real numbers.")
    values = values[:, None] if values.ndim == 1 and variables == 1 else values
    if values.ndim != 2 or values.shape[1] != variables:
        raise ValueError(f"{path} has shape {values.shape}; expected (steps, {variables}), a column for each variable.")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path} has values that are NaN, infinite, or beyond 32-bit floats; clean the series first.")
    return torch.from_numpy(numbers)


def read_steps(path: Path, variables: Sequence[str]) -> Tensor:
    """Reads a table with a column for each of V variables and a row for each of S steps into (S, V).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a variable is missing, or a cell is not a finite number; names the line.
    """
    table = read_table(path, what="series")
    for name in variables:
        if name not in table.columns:
            raise ValueError(f"{path} has no variable '{name}'; {did_you_mean(name, table.columns)}")
    steps = [[row.number(name) for name in variables] for row in table.rows]
    return torch.tensor(steps).view(-1, len(variables))


def read_wide(rows: Sequence[TableRow], columns: Sequence[str]) -> list[Tensor]:
    """Reads a series (S, 1) from each row of a table, one step per column; empty cells at the end shorten the series.

    Raises:
        ValueError: a row is empty, or a cell is not a finite number; names the line.
    """
    series = []
    for row in rows:
        filled = [name for name in columns if row.cells[name].strip()]
        steps = columns[: columns.index(filled[-1]) + 1] if filled else []
        if not steps:
            raise ValueError(f"{row.where}: the series is empty; remove the row.")
        series.append(torch.tensor([[row.number(name)] for name in steps]))
    return series


def read_tsv(path: Path) -> Labelled:
    """Reads lines of a label and the values of one variable, separated by tabs; trailing NaN pads shorter series.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, or a value is not a number or is missing inside a series; names the line.
    """
    series, labels = [], []
    for line, (label, *cells) in read_records(path, "\t", quotes=False, what="table of series"):
        series.append(_values(cells, path, line)[:, None])
        labels.append(_label(label))
    if not series:
        raise ValueError(f"{path} is empty; expected a label and values in each line, separated by tabs.")
    return series, labels


def read_ts(path: Path) -> Labelled:
    """Reads the format of sktime: header lines with @, then lines of variables separated by colons, the label last.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no data, has time stamps or no class labels, a value is not a number or is missing, or
            the variables differ in length or number; names the line.
    """
    series, labels, data = [], [], False
    for number, line in enumerate(read_text(path, "file of series").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            key, *rest = text.lower().split()
            data = data or key == "@data"
            if (key, *rest[:1]) in (("@timestamps", "true"), ("@classlabel", "false"), ("@targetlabel", "true")):
                raise ValueError(f"{path}, line {number}: '{text}'; expected class labels and no time stamps.")
        elif data:
            *columns, label = text.split(":")
            variables = [_values(column.split(","), path, number) for column in columns]
            if len({len(v) for v in variables}) != 1 or (series and len(variables) != series[0].shape[1]):
                wanted = f"{series[0].shape[1]} of them" if series else "one or more"
                raise ValueError(
                    f"{path}, line {number}: variables of {[len(v) for v in variables]} steps; expected {wanted}, all "
                    "of one length."
                )
            series.append(torch.stack(variables, 1))
            labels.append(_label(label))
    if not series:
        raise ValueError(f"{path} has no series after a line '@data'.")
    return series, labels


def _values(cells: list[str], path: Path, line: int) -> Tensor:
    try:
        numbers = [float(cell) if cell.strip() != "?" else math.nan for cell in cells]
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}; expected numbers.") from None
    while numbers and math.isnan(numbers[-1]):
        numbers.pop()
    series = torch.tensor(numbers)
    if not numbers or not bool(series.isfinite().all()):
        raise ValueError(
            f"{path}, line {line}: missing or infinite values inside the series, or values beyond 32-bit floats; "
            "impute or correct them first."
        )
    return series


def _label(cell: str) -> str:
    """A label as text; integers have one spelling, whether written 1, 1.0 or 1e0."""
    try:
        number = float(cell)
    except ValueError:
        return cell.strip()
    return str(int(number)) if number.is_integer() else cell.strip()
