"""The user's own rows of numbers, in a CSV or TSV file."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.labelled_tables import RowsBySplit, label_of, read_splits
from zoo.data.base.module import DataModule
from zoo.domain import TableDomain
from zoo.utils.checks import check_choice
from zoo.utils.csv_files import TableRow, columns_of
from zoo.utils.paths import expand


class TableFile(DataModule):
    """Rows of numbers in a CSV or TSV with a header: one column of labels, the others features or concepts.

    Features are normalised by their mean and standard deviation on the training rows. A categorical feature must be
    encoded as numbers first, one column of 0 and 1 for each of its values. Without a column `split` (train, val, test)
    and without `test`, 20 % of the rows of every label are the test set.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`.
        label: name of the column of labels, or of values to predict.
        features: names of the columns of features; by default all columns but the label, the concepts and `split`.
        concepts: names of the columns of concepts: 0, 1 or empty (not annotated).
        task: "classification" or "regression".
        test: another table with the same columns, for the test.
        batch_size: items per batch.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: unknown task.
    """

    def __init__(
        self,
        path: str,
        label: str = "label",
        features: Sequence[str] | None = None,
        concepts: Sequence[str] = (),
        task: str = "classification",
        test: str | None = None,
        batch_size: int = 32,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice(("classification", "regression"), task=task)
        self.path, self.test, self.label, self.task = expand(path), expand(test) if test else None, label, task
        self.features, self.concepts = None if features is None else list(features), list(concepts)

    def make_domain(self) -> TableDomain:
        return self._domain

    def items(self, split: str, training: bool) -> Rows:
        return self._items[split]

    @cached_property
    def _columns(self) -> list[str]:
        """Names of the features."""
        if self.features is not None:
            return self.features
        columns = columns_of(self.path)
        if "" in columns:
            raise ValueError(f"{self.path} has a column without a name; name it, remove it, or list `features`.")
        return [name for name in columns if name not in (self.label, "split", *self.concepts)]

    @cached_property
    def _splits(self) -> RowsBySplit:
        regression = self.task == "regression"
        columns = (*self._columns, *self.concepts)
        return read_splits(self.path, self.test, self.label, columns, self.seed, regression)

    @cached_property
    def _values(self) -> dict[str, list[list[float]]]:
        """Raw values (N, F) by split."""
        return {split: [[row.number(c) for c in self._columns] for row in rows] for split, rows in self._splits.items()}

    @cached_property
    def _concept_labels(self) -> dict[str, Tensor]:
        """Concepts (N, k) by split."""
        return {
            split: torch.tensor([[_concept(row, name) for name in self.concepts] for row in rows])
            for split, rows in self._splits.items()
        }

    @cached_property
    def _domain(self) -> TableDomain:
        _ = self._concept_labels  # raises its errors now, before a model is built
        std, mean = torch.std_mean(torch.tensor(self._values["train"], dtype=torch.double), 0, correction=0)
        labels = {label_of(row, self.label) for row in self._splits["train"]}
        return TableDomain(
            classes=tuple(sorted(labels)) if self.task == "classification" else (self.label,),
            concepts=tuple(self.concepts),
            features=tuple(self._columns),
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(std > 1e-8, std, 1.0).tolist()),  # a constant column is only centred
            task=self.task,
        )

    @cached_property
    def _items(self) -> dict[str, Rows]:
        items = {}
        for split, rows in self._splits.items():
            inputs = self._domain.normalise(torch.tensor(self._values[split]))
            if not bool(inputs.isfinite().all()):
                i, feature = (~inputs.isfinite()).nonzero()[0].tolist()
                raise ValueError(
                    f"{rows[i].where}: '{self._columns[feature]}' overflows when it is normalised; correct it."
                )
            concepts = self._concept_labels[split] if self.concepts else None
            items[split] = Rows(inputs, self._targets(rows), [row.name for row in rows], concepts)
        return items

    def _targets(self, rows: Sequence[TableRow]) -> Tensor:
        """Classes (N,), or values (N, 1)."""
        if self.task == "regression":
            return torch.tensor([[row.number(self.label)] for row in rows])
        number = {name: c for c, name in enumerate(self._domain.classes)}
        return torch.tensor([number[label_of(row, self.label)] for row in rows])


def _concept(row: TableRow, column: str) -> float:
    text = row.cells[column].strip()
    if text not in ("0", "1", ""):
        raise ValueError(f"{row.where}: concept '{column}' is {text!r}; expected 0, 1 or nothing.")
    return float(text) if text else math.nan
