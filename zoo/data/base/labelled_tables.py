"""The user's own tables with a column of labels, or of values to predict, and optionally a column `split`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from zoo.data.base.sampling import stratified_split
from zoo.data.base.splits import check_class_sizes, check_labels, split_of
from zoo.utils.csv_files import TableRow, read_table

HELD_OUT = 0.2  # share of the rows for the test, if there is no test split

RowsBySplit = dict[str, list[TableRow]]


def read_splits(
    path: Path, test: Path | None, label: str, columns: Sequence[str], seed: int, regression: bool = False
) -> RowsBySplit:
    """The rows of a table by split.

    The column `split` names the split of each row: train, val or test. Without it, all rows are for training. Without
    test rows, 20 % of the rows of every label are held out for the test.

    Args:
        path: of the table.
        test: another table with the same columns, for the test.
        label: name of the column of labels, or of values to predict.
        columns: names of further columns that must be there.
        seed: of the rows that are held out.
        regression: whether the labels are values to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a label is empty or, for regression, not a number, a split has another name, or
            there are too few rows of a class; names the file, and the line if there is one.
    """
    splits = _read(path, label, columns, regression)
    if test is not None:
        splits["test"] = [row for rows in _read(test, label, columns, regression).values() for row in rows]
    labels = {split: [label_of(row, label) for row in rows] for split, rows in splits.items()}
    train = splits.get("train", [])
    if regression:
        if len(train) < 3:
            raise ValueError(f"{path} has {len(train)} rows to train on; three or more are needed.")
        targets = torch.zeros(len(train))
    else:
        check_class_sizes(Counter(labels.get("train", ())), set(splits), path, "rows")
        check_labels(labels, path)
        number = {name: c for c, name in enumerate(sorted(set(labels["train"])))}
        targets = torch.tensor([number[name] for name in labels["train"]])
    if "test" not in splits:
        kept, held = stratified_split(targets, HELD_OUT, seed)
        splits |= {"train": [train[i] for i in kept], "test": [train[i] for i in held]}
    return splits


def label_of(row: TableRow, column: str) -> str:
    """The label of a row, without surrounding blanks."""
    return row.cells[column].strip()


def _read(path: Path, label: str, columns: Sequence[str], regression: bool) -> RowsBySplit:
    splits: RowsBySplit = {}
    for row in read_table(path, (label, *columns)).rows:
        if not label_of(row, label):
            raise ValueError(f"{row.where}: the label is empty.")
        if regression:
            row.number(label)
        splits.setdefault(split_of(row), []).append(row)
    return splits
