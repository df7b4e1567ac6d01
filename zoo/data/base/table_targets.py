"""What a table is to predict: classes, or one or several numbers; and signs that a feature gives it away."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.frames import Frame
from zoo.data.base.table_columns import DECIMAL_COMMA
from zoo.domain.columns import is_number
from zoo.utils.optional import need

if TYPE_CHECKING:
    import polars as pl

MANY = 20  # different whole numbers, above which a column is taken for a value to predict
CLEAR = 0.9999  # correlation with the target, above which a feature gives it away


class Targets(NamedTuple):
    """What is predicted.

    Attributes:
        task: "classification" or "regression".
        names: of the classes, or of the columns of values.
        values: (N,) classes, or (N, C) values.
    """

    task: str
    names: tuple[str, ...]
    values: Tensor


def read_targets(frame: Frame, columns: Sequence[str], task: str | None) -> Targets:
    """Reads the target: classes of one column, or the numbers of one or several.

    Args:
        frame: the table.
        columns: names.
        task: "classification", "regression", or None: numbers with a fraction, or of more than `MANY` different values,
            are values to predict, and so are several columns.

    Raises:
        ValueError: a cell is empty or, for regression, not a number; names file and line.
    """
    if not columns:
        raise ValueError("the target is the name of a column, or a list of names; got none.")
    cells = [frame.column(name) for name in columns]
    for name, text in zip(columns, cells, strict=True):
        if (text == "").any():
            raise ValueError(f"{frame.where(int((text == '').arg_max() or 0))}: the target '{name}' is empty.")
        if task != "classification" and bool(text.str.contains(DECIMAL_COMMA).all()):
            raise ValueError(f"the target '{name}' has numbers with decimal commas, such as {text[0]!r}; write points.")
    if task is None:
        task = "regression" if len(columns) > 1 or _is_value(cells[0]) else "classification"
    if task == "regression":
        values = [_numbers(frame, name, text) for name, text in zip(columns, cells, strict=True)]
        return Targets(task, tuple(columns), torch.from_numpy(np.stack(values, 1)).float())
    if len(columns) > 1:
        raise ValueError(f"several targets are values to predict; got task 'classification' for {', '.join(columns)}.")
    names, classes = np.unique(cells[0].to_numpy().astype(str), return_inverse=True)
    _check_spelling(columns[0], names.tolist())
    if all(is_number(name) for name in names):
        order = np.argsort([float(name) for name in names], kind="stable")
        names, classes = names[order], order.argsort()[classes]
    return Targets(task, tuple(map(str, names)), torch.from_numpy(classes.astype(np.int64)))


def _check_spelling(column: str, names: Sequence[str]) -> None:
    """Refuses classes that are the same number, and warns of those that differ in upper and lower case alone."""
    for what, key in (("the same number", lambda name: str(float(name)) if is_number(name) else name), ("", str.lower)):
        found: dict[str, str] = {}
        for name in names:
            other = found.setdefault(key(name), name)
            if other == name:
                continue
            if what:
                raise ValueError(f"the target '{column}' has the classes '{other}' and '{name}', which are {what}.")
            warnings.warn(f"the target '{column}' has the classes '{other}' and '{name}'; are they one?", stacklevel=4)


def warn_of_leaks(frame: Frame, names: Sequence[str], targets: Targets, train: "np.ndarray") -> None:
    """Warns about features that determine the target of every training row alone.

    These are columns with few different cells, each in rows of one class only; and numbers that correlate with a value
    to predict, or that lie in separate intervals for the classes.
    """
    pl = need("polars", "table")
    target = targets.values[train].double().numpy() if targets.task == "regression" else targets.values[train].numpy()
    for name in names:
        text = frame.column(name).gather(train)
        numbers, count = text.cast(pl.Float64, strict=False).to_numpy(), text.n_unique()
        finite = bool(np.isfinite(numbers).all())
        if targets.task == "regression":
            clear = finite and count > 2 and _correlates(numbers, target)
        else:
            classes = len(targets.names)
            few = classes <= count <= max(4 * classes, 20) and len(train) > 2 * count
            pure = few and pl.DataFrame({"cell": text, "class": target}).n_unique() == count
            clear = pure or (finite and _separates(numbers, target))
        if clear:
            warnings.warn(
                f"column '{name}' determines the target of every training row; if it is not known when a prediction is "
                f"made, leave it out (leave_out: [{name}]).",
                stacklevel=2,
            )


def _correlates(numbers: "np.ndarray", values: "np.ndarray") -> bool:
    if numbers.std() == 0:
        return False
    return any(abs(np.corrcoef(numbers, column)[0, 1]) > CLEAR for column in values.T if column.std() > 0)


def _separates(numbers: "np.ndarray", classes: "np.ndarray") -> bool:
    """Whether the numbers of different classes are in separate intervals, with more than one row for each value."""
    order = np.argsort(numbers, kind="stable")
    changes = np.flatnonzero(np.diff(classes[order]))
    apart = numbers[order][changes] < numbers[order][changes + 1]
    return len(numbers) > 100 and len(changes) == len(np.unique(classes)) - 1 and bool(apart.all())


def _numbers(frame: Frame, name: str, text: "pl.Series") -> "np.ndarray":
    pl = need("polars", "table")
    numbers = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    wrong = ~(np.abs(numbers) < 3.4e38)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{frame.where(row)}: the target '{name}' must be a finite number; got {text[row]!r:.80}.")
    return numbers


def _is_value(text: "pl.Series") -> bool:
    pl = need("polars", "table")
    numbers = text.cast(pl.Float64, strict=False)
    if bool(numbers.is_null().any()):
        return False
    return bool((numbers != numbers.round(0)).any()) or numbers.n_unique() > MANY
