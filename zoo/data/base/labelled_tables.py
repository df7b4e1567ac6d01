"""The user's own tables with a column of labels, or of values to predict, and optionally a column `split`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.row_tables import table_of
from zoo.data.base.sampling import stratified_split
from zoo.data.base.splits import check_class_sizes, check_labels, split_of
from zoo.utils.csv_files import TableRow

HELD_OUT = 0.2  # share of the rows for the test, if there is no test split

RowsBySplit = dict[str, list[TableRow]]


def read_splits(
    source: Any, test: Any, label: str, columns: Sequence[str], seed: int, regression: bool = False
) -> RowsBySplit:
    """The rows of a table by split, see `split_rows`.

    Args:
        source: path of the table, or a data frame, see `zoo.data.base.row_tables.table_of`.
        test: another table with the same columns, for the test; None without one.
        label: name of the column of labels, or of values to predict.
        columns: names of further columns that must be there.
        seed: of the rows that are held out.
        regression: whether the labels are values to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or see `split_rows`.
    """
    table = table_of(source, (label, *columns))
    others = None if test is None else table_of(test, (label, *columns)).rows
    return split_rows(table.rows, others, table.path, label, seed, regression)


def split_rows(
    rows: Sequence[TableRow],
    test: Sequence[TableRow] | None,
    where: Path,
    label: str,
    seed: int,
    regression: bool = False,
) -> RowsBySplit:
    """Rows by split.

    The column `split` names the split of each row: train, val or test. Without it, all rows are for training. Without
    test rows, 20 % of the rows of every label are held out for the test.

    Args:
        rows: one for each item.
        test: further rows for the test.
        where: they come from, for messages.
        label: name of the column of labels, or of values to predict.
        seed: of the rows that are held out.
        regression: whether the labels are values to predict.

    Raises:
        ValueError: a label is empty or, for regression, not a number, a split has another name, or there are too few
            rows of a class; names the file, and the line if there is one.
    """
    splits: RowsBySplit = {}
    for row in rows:
        _check_label(row, label, regression)
        splits.setdefault(split_of(row), []).append(row)
    if test is not None:
        for row in test:
            _check_label(row, label, regression)
        splits["test"] = list(test)
    labels = {split: [label_of(row, label) for row in rows] for split, rows in splits.items()}
    train = splits.get("train", [])
    if regression:
        if len(train) < 3:
            raise ValueError(f"{where} has {len(train)} rows to train on; three or more are needed.")
        targets = torch.zeros(len(train))
    else:
        check_class_sizes(Counter(labels.get("train", ())), set(splits), where, "rows")
        check_labels(labels, where)
        number = {name: c for c, name in enumerate(sorted(set(labels["train"])))}
        targets = torch.tensor([number[name] for name in labels["train"]])
    if "test" not in splits:
        kept, held = stratified_split(targets, HELD_OUT, seed)
        splits |= {"train": [train[i] for i in kept], "test": [train[i] for i in held]}
    return splits


def label_of(row: TableRow, column: str) -> str:
    """The label of a row, without surrounding blanks."""
    return row.cells[column].strip()


def targets_of(splits: RowsBySplit, label: str, regression: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The targets of each split, classes (N,) or values (N, 1), and the names of the classes or of the value."""
    if regression:
        values = {split: torch.tensor([[row.number(label)] for row in rows]) for split, rows in splits.items()}
        return values, (label,)
    classes = tuple(sorted({label_of(row, label) for row in splits["train"]}))
    column = {name: c for c, name in enumerate(classes)}
    found = {split: torch.tensor([column[label_of(row, label)] for row in rows]) for split, rows in splits.items()}
    return found, classes


def _check_label(row: TableRow, label: str, regression: bool) -> None:
    if not label_of(row, label):
        raise ValueError(f"{row.where}: the label is empty.")
    if regression:
        row.number(label)
