"""The file formats of the UCR and UEA archives of time series."""

import math
from pathlib import Path

import torch
from torch import Tensor

Labelled = tuple[list[Tensor], list[str]]  # series (S, V), each of its own length S, and their labels


def read_tsv(path: Path) -> Labelled:
    """Reads lines of a label and the values of one variable, separated by tabs; trailing NaN pads shorter series.

    Raises:
        ValueError: the file is empty, or a value is not a number or is missing inside a series; names the line.
    """
    series, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        label, *cells = line.split("\t")
        series.append(_values(cells, path, number)[:, None])
        labels.append(_label(label))
    if not series:
        raise ValueError(f"{path} is empty; expected a label and values in each line, separated by tabs.")
    return series, labels


def read_ts(path: Path) -> Labelled:
    """Reads the format of sktime: header lines with @, then lines of variables separated by colons, the label last.

    Raises:
        ValueError: the file has no data, has time stamps or no class labels, a value is not a number or is missing, or
            the variables differ in length or number; names the line.
    """
    series, labels, data = [], [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
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
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{path}, line {line}: missing or infinite values inside a series; impute them first.")
    return torch.tensor(numbers)


def _label(cell: str) -> str:
    """A label as text; integers have one spelling, whether written 1, 1.0 or 1e0."""
    try:
        number = float(cell)
    except ValueError:
        return cell.strip()
    return str(int(number)) if number.is_integer() else cell.strip()
