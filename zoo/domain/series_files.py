"""Files of time series: NPY, tables, and the formats of the UCR and UEA archives."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.utils.csv_files import TableRow, read_records
from zoo.utils.paths import check_file, read_text

GAPS = frozenset({"", "na", "nan", "null", "none", "?"})  # lower-case cells without a value

Labelled = tuple[list[Tensor], list[str]]  # series (S, V) of any length S, and their labels


def read_npy(path: Path, variables: int, gaps: bool = False) -> list[Tensor]:
    """Reads the series (T, V) of an NPY file; never unpickles.

    Args:
        path: of numbers (T, V), or (N, T, V) of N series; of a single variable also (T,), or (N, T) with T > 1.
        variables: V.
        gaps: keep NaN as missing values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an NPY file of finite real numbers in this shape.
    """
    values = load_npy(path)
    if variables == 1 and (values.ndim == 1 or (values.ndim == 2 and values.shape[1] != 1)):
        values = values[..., None]
    if values.ndim not in (2, 3) or values.shape[-1] != variables:
        raise ValueError(
            f"{path} has shape {values.shape}; expected (steps, {variables}), a column for each variable, or (series, "
            f"steps, {variables})."
        )
    if not values.size:
        raise ValueError(f"{path} has shape {values.shape}, without any value; expected one step or more.")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not (np.isfinite(numbers) | (gaps & np.isnan(numbers))).all():
        raise ValueError(
            f"{path} has values that are NaN, infinite, or beyond 32-bit floats; clean the series first, or train with "
            "data whose option `missing` fills NaN."
        )
    return list(torch.from_numpy(numbers).view(-1, *numbers.shape[-2:]))


def load_npy(path: Path) -> "np.ndarray":
    """The real numbers of an NPY file, mapped, so that a false size in the header takes no memory; never unpickles.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an NPY file of real numbers.
    """
    check_file(path, "series")
    try:
        with path.open("rb") as opened:
            np.lib.format.read_magic(opened)  # refuses an NPZ, which `np.load` would open
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not an NPY file of plain numbers ({error}).") from None
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ValueError(f"{path} has values of type {values.dtype}; expected real numbers.")
    return values


def read_wide(rows: Sequence[TableRow], columns: Sequence[str], gaps: bool = False) -> list[Tensor]:
    """Reads a series (S, 1) from each row of a table, one step per column; empty cells at the end shorten the series.

    Args:
        rows: of the table.
        columns: names of the columns of the steps.
        gaps: read empty cells before the last step as NaN.

    Raises:
        ValueError: a row is empty, or a cell is not a finite number; names the line.
    """
    series = []
    for row in rows:
        filled = [name for name in columns if not is_gap(row.cells[name], gaps)]
        steps = columns[: columns.index(filled[-1]) + 1] if filled else []
        if not steps:
            raise ValueError(f"{row.where}: the series is empty; remove the row.")
        series.append(torch.tensor([[number_of(row, name, gaps)] for name in steps]))
    return series


def number_of(row: TableRow, column: str, gaps: bool) -> float:
    """The number in a cell; with `gaps`, NaN for an empty one.

    Raises:
        ValueError: it is not a finite 32-bit float; names the line and the column.
    """
    return math.nan if gaps and is_gap(row.cells[column], gaps) else row.number(column)


def is_gap(cell: str, named: bool) -> bool:
    """Whether a cell has no value: it is empty or, if gaps are `named`, "NA", "NaN", "?" or the like."""
    text = cell.strip().lower()
    return text in GAPS if named else not text


def read_tsv(path: Path, gaps: bool = False) -> Labelled:
    """Reads lines of a label and the values of one variable, separated by tabs; trailing NaN shortens the series.

    Args:
        path: of the file.
        gaps: read NaN inside a series as missing values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, or a value is not a number or is missing inside a series; names the line.
    """
    series, labels = [], []
    for line, (label, *cells) in read_records(path, "\t", quotes=False, what="table of series"):
        series.append(joined([cells], f"{path}, line {line}", gaps))
        labels.append(label_text(label))
    if not series:
        raise ValueError(f"{path} is empty; expected a label and values in each line, separated by tabs.")
    return series, labels


def read_ts(path: Path, gaps: bool = False) -> Labelled:
    """Reads the format of sktime: header lines with @, then lines of variables separated by colons, the label last.

    Args:
        path: of the file.
        gaps: read missing values inside a series as NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no data, has time stamps or no class labels, a value is not a number or is missing, or
            the variables differ in length or number; names the line.
    """
    series, labels, data = [], [], False
    for number, line in enumerate(read_text(path, "file of series").split("\n"), 1):
        text, where = line.strip(), f"{path}, line {number}"
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            key, *rest = text.lower().split()
            data = data or key == "@data"
            if (key, *rest[:1]) in (("@timestamps", "true"), ("@classlabel", "false"), ("@targetlabel", "true")):
                raise ValueError(f"{where}: '{text}'; expected class labels and no time stamps.")
        elif data:
            *columns, label = text.split(":")
            one = joined([column.split(",") for column in columns], where, gaps)
            series.append(same_variables(one, series, where))
            labels.append(label_text(label))
    if not series:
        raise ValueError(f"{path} has no series after a line '@data'.")
    return series, labels


def joined(variables: Sequence[Sequence[str]], where: str, gaps: bool) -> Tensor:
    """A series (S, V) of V lists of cells; the steps at the end that no variable has shorten it.

    Args:
        variables: cells of each variable, "?" or NaN where a value is missing.
        where: place of the series, for messages.
        gaps: keep missing values before the end as NaN.

    Raises:
        ValueError: a cell is not a number, the variables differ in length, or a value is infinite or missing.
    """
    if len({len(cells) for cells in variables}) != 1:
        steps = [len(cells) for cells in variables]
        raise ValueError(f"{where}: variables of {steps} steps; expected one or more, all of one length.")
    try:
        numbers = [[math.nan if is_gap(cell, True) else float(cell) for cell in cells] for cells in variables]
    except ValueError as error:
        raise ValueError(f"{where}: {error}; expected numbers.") from None
    series = torch.tensor(numbers).T
    known = (~series.isnan()).any(1).nonzero()
    series = series[: int(known[-1]) + 1] if len(known) else series[:0]
    if not len(series) or not bool((series.isfinite() | (series.isnan() & gaps)).all()):
        raise ValueError(
            f"{where}: missing or infinite values inside the series, or values beyond 32-bit floats; impute or correct "
            "them first, or let the option `missing` of the data fill gaps."
        )
    return series


def same_variables(one: Tensor, before: Sequence[Tensor], where: str) -> Tensor:
    """The series, if it has as many variables as those before it.

    Raises:
        ValueError: it has not.
    """
    if before and one.shape[1] != before[0].shape[1]:
        raise ValueError(f"{where} has {one.shape[1]} variables; expected {before[0].shape[1]}, as before.")
    return one


def label_text(cell: str) -> str:
    """A label as text; integers have one spelling, whether written 1, 1.0 or 1e0."""
    try:
        number = float(cell)
    except ValueError:
        return cell.strip()
    return str(int(number)) if number.is_integer() else cell.strip()
