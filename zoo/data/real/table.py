"""The user's own table: a CSV, TSV or Parquet file, or a data frame."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.frames import Frame, joined, read_frame
from zoo.data.base.module import DataModule
from zoo.data.base.splits import SPLITS, check_class_sizes, check_labels
from zoo.data.base.table_columns import Wishes, make_columns
from zoo.data.base.table_rows import TableRows, encode_rows
from zoo.data.base.table_splits import Rows, split_column, split_rows
from zoo.data.base.table_targets import Targets, read_targets, warn_of_leaks
from zoo.domain import TableDomain
from zoo.utils.checks import check_choice
from zoo.utils.optional import need

HELD_OUT = 0.2  # share of the rows for the test, if there is no test split


class Read(NamedTuple):
    """The tables as they were read, all rows in one frame, the test table's last."""

    frame: Frame
    targets: Targets
    rows: Rows


class Table(DataModule):
    """Rows of a table with any columns; reading and scaling become part of the checkpoint.

    Numbers are scaled; categories become one input for each level; ISO dates become year, month, day and weekday; each
    code of missing values is an input of its own, see `zoo.domain.Column`. Types follow from the cells and can be set.
    Explanations show raw values, and `explain --input` reads raw rows with the columns in any order.

    Without a column `split`, without `split` and without `test`, 20 % of the rows of every class are the test set.

    Args:
        path: of a CSV, TSV or Parquet file, a list of paths, or a data frame of pandas or polars.
        target: name of the column to predict, a class or a number, or a list of names of columns of numbers.
        test: another table with the same columns, for the test; False for no test rows.
        types: "number", "category" or "date", or the list of levels of an ordered category, lowest first, by column.
        missing: codes of missing values besides empty cells and NaN, by column; "*" stands for all columns.
        leave_out: names of columns that are not features.
        split: {column: NAME}, a column with train, val or test; {group: NAME}, rows of a group stay together; {time:
            NAME}, the last rows are the test, those before them the validation rows; {}, by chance.
        weight: name of a column of weights of the rows in the loss, 0 or more.
        concepts: names of columns of concepts: 0, 1 or empty (not annotated).
        task: "classification" or "regression"; by default, numbers with fractions or more than 20 different values,
            and several targets, are values to predict.
        scaling: of numbers: "standard" (mean 0, standard deviation 1) or "quantile" (normally distributed).
        batch_size: rows per batch.
        **loading: `workers`, `seed`, `val_fraction`, `sampling` and `class_weights`, see `DataModule`.

    Raises:
        ValueError: unknown task or scaling.
    """

    def __init__(
        self,
        path: Any,
        target: str | list[str] = "label",
        test: Any = None,
        types: dict[str, str | list[str]] | None = None,
        missing: dict[str, list[str | float]] | None = None,
        leave_out: Sequence[str] = (),
        split: dict[str, str] | None = None,
        weight: str | None = None,
        concepts: Sequence[str] = (),
        task: str | None = None,
        scaling: str = "standard",
        batch_size: int = 256,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice(("standard", "quantile"), scaling=scaling)
        if task is not None:
            check_choice(("classification", "regression"), task=task)
        self.path, self.test, self.task, self.split, self.weight = path, test, task, split, weight
        self.target = [target] if isinstance(target, str) else list(target)
        self.wishes = Wishes({} if types is None else types, {} if missing is None else missing, scaling)
        for what, names in (("leave_out", leave_out), ("concepts", concepts)):
            if isinstance(names, str):
                raise ValueError(f"{what} must be a list of names such as [{names}]; got '{names}'.")
        self.leave_out, self.concepts = list(leave_out), list(concepts)

    def read(self, source: Any) -> Frame:
        """Reads a table; see `zoo.data.base.frames.read_frame`."""
        return read_frame(source)

    def make_domain(self) -> TableDomain:
        return self._domain

    def items(self, split: str, training: bool) -> TableRows:
        return self._items[split]

    @property
    def has_weights(self) -> bool:
        """Whether rows have weights in the loss."""
        return self.weight is not None

    @cached_property
    def _read(self) -> Read:
        frame = self.read(self.path)
        first = len(frame.cells)
        joins = self.test is not None and self.test is not False
        if joins:
            frame = joined([frame, self.read(self.test)])
        for what, names in (("target", self.target), ("leave_out", self.leave_out), ("concepts", self.concepts)):
            for name in names:
                frame.column(name)
                if what != "target" and name in self.target:
                    raise ValueError(f"'{name}' is the target, and is named under {what} too; remove it there.")
        targets = read_targets(frame, self.target, self.task)
        way, column = split_column(self.split, frame)
        held = (HELD_OUT, self.val_fraction)
        head = frame._replace(cells=frame.cells.head(first))
        rows = split_rows(head, way, column, targets.values[:first], held, self.seed, self.test is not None)
        if joins:
            rows["test"] = np.arange(first, len(frame.cells))
        _check_rows(targets, rows, frame, {*SPLITS} if self.test is False else {*rows})
        return Read(frame, targets, rows)

    @cached_property
    def _features(self) -> list[str]:
        """Names of the columns that are features."""
        frame = self._read.frame
        _, split = split_column(self.split, frame)
        time = self.split is not None and "time" in self.split
        others = {*self.target, *self.leave_out, *self.concepts, self.weight, None if time else split}
        names = [name for name in frame.cells.columns if name not in others]
        if not names:
            raise ValueError(
                f"{frame.name} has no columns of features besides {', '.join(str(name) for name in others if name)}."
            )
        self.wishes.check(names)
        return names

    @cached_property
    def _domain(self) -> TableDomain:
        frame, targets, rows = self._read
        columns = make_columns(frame, self._features, rows["train"], self.wishes)
        if not columns:
            raise ValueError(f"{frame.name}: every column of features is constant; there is nothing to learn from.")
        warn_of_leaks(frame, self._features, targets, rows["train"])
        return TableDomain(classes=targets.names, concepts=tuple(self.concepts), columns=columns, task=targets.task)

    @cached_property
    def _items(self) -> dict[str, TableRows]:
        frame, targets, rows = self._read
        values, hot = encode_rows(self._domain, frame)
        concepts, weights = self._concept_labels(frame), self._weights(frame, rows["train"])
        items = {}
        for split, chosen in rows.items():
            picked = torch.from_numpy(chosen)
            items[split] = TableRows(
                self._domain,
                values[picked],
                hot[picked],
                targets.values[picked],
                _Names(frame, chosen),
                None if concepts is None else concepts[picked],
                None if weights is None else weights[picked],
            )
        return items

    def _concept_labels(self, frame: Frame) -> Tensor | None:
        """Concepts (N, k)."""
        if not self.concepts:
            return None
        labels = []
        for name in self.concepts:
            text = frame.column(name)
            for cell in text.unique().to_list():
                if cell not in ("0", "1", ""):
                    where = frame.where(int((text == cell).arg_max() or 0))
                    raise ValueError(f"{where}: concept '{name}' is {cell!r}; expected 0, 1 or nothing.")
            labels.append([float(cell) if cell else math.nan for cell in text.to_list()])
        return torch.tensor(labels).T.contiguous()

    def _weights(self, frame: Frame, train: "np.ndarray") -> Tensor | None:
        """Weights (N,) of the rows, of mean 1 over the training rows."""
        if self.weight is None:
            return None
        pl = need("polars", "table")
        text = frame.column(self.weight)
        numbers = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        if not (wrong := ~(numbers >= 0) | ~np.isfinite(numbers)).any() and numbers[train].sum() > 0:
            return torch.from_numpy(numbers / numbers[train].mean()).float()
        if not wrong.any():
            raise ValueError(f"{frame.name}: the weights '{self.weight}' of all training rows are 0.")
        row = int(wrong.argmax())
        raise ValueError(f"{frame.where(row)}: the weight '{self.weight}' must be 0 or more; got {text[row]!r:.80}.")


class _Names:
    """Names of the rows of a split: file and line."""

    def __init__(self, frame: Frame, rows: "np.ndarray") -> None:
        self.names = [Path(name).name for name in frame.names]
        self.files, self.lines, self.noun = frame.files[rows], frame.lines[rows], frame.noun

    def __call__(self, i: int) -> str:
        return f"{self.names[self.files[i]]}, {self.noun} {self.lines[i]}"


def _check_rows(targets: Targets, rows: Rows, frame: Frame, splits: set[str]) -> None:
    """Refuses classes that are too small for the other `splits`, and splits that are empty or have other classes."""
    where = Path(frame.name)
    if targets.task == "regression":
        if len(rows["train"]) < 3:
            raise ValueError(f"{where} has {len(rows['train'])} rows to train on; three or more are needed.")
        for name, values in zip(targets.names, targets.values[rows["train"]].T, strict=True):
            if float(values.min()) == float(values.max()):
                raise ValueError(f"{where}: the target '{name}' is {values[0]:g} in every training row.")
        return
    labels = {split: [targets.names[c] for c in targets.values[chosen].tolist()] for split, chosen in rows.items()}
    check_class_sizes(Counter(labels["train"]), splits, where, "rows")
    check_labels(labels, where)
