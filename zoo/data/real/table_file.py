"""Rows of numbers in a CSV or TSV, with a column of labels or of values to predict."""

import csv
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.base.sampling import stratified_split
from zoo.domain import TableDomain
from zoo.utils.paths import expand

SPLITS = ("train", "val", "test")


class Split(NamedTuple):
    """The rows of one split: raw values (N, F), labels, concepts (N, k) in {0, 1, NaN}, and the line of each row."""

    values: Tensor
    labels: list[str]
    concepts: Tensor
    names: list[str]


class TableFile(DataModule):
    """Rows of numbers in a CSV or TSV with a header: one column of labels, the others features or concepts.

    Features are normalised by their mean and standard deviation on the training rows. A category must be encoded as
    numbers first, one column of 0 and 1 for each of its values.

    Args:
        path: the table; tab-separated if it ends in .tsv.
        label: column of the labels, or of the values to predict.
        features: columns of the features; by default all columns but those of the label, the concepts and `split`.
        concepts: columns of concepts: 0, 1 or empty (not annotated).
        task: "classification" or "regression".
        test: another table with the same columns to test on. Without it, and without rows whose column `split` is
            "test" (the others are "train" or "val"), 20 % of the rows of each label are held out.
        batch_size: rows a batch.
        workers: processes that load.
        seed: of the splits and the shuffles.
        val_fraction: fraction of the training rows held out for validation, if there is no "val" split.
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
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        if task not in ("classification", "regression"):
            raise ValueError(f"task must be 'classification' or 'regression'; got '{task}'.")
        self.path, self.test, self.label, self.task = expand(path), expand(test) if test else None, label, task
        self.features, self.concepts = None if features is None else list(features), list(concepts)

    def make_domain(self) -> TableDomain:
        return self._domain

    def items(self, split: str, training: bool) -> Rows:
        return self._rows_of[split]

    @cached_property
    def _domain(self) -> TableDomain:
        train = self._splits["train"]
        std, mean = torch.std_mean(train.values, 0, correction=0)
        return TableDomain(
            classes=tuple(sorted(set(train.labels))) if self.task == "classification" else (self.label,),
            concepts=tuple(self.concepts),
            features=tuple(self.features or self._header(self.path)),
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(std > 1e-8, std, 1.0).tolist()),  # a constant column is only moved to 0
            task=self.task,
        )

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        rows = {}
        for split, part in self._splits.items():
            concepts = part.concepts if self.concepts else None
            rows[split] = Rows(self._domain.normalise(part.values), self._targets(part), part.names, concepts)
        return rows

    def _targets(self, part: Split) -> Tensor:
        """Classes (N,), or values (N, 1)."""
        if self.task == "regression":
            return torch.tensor(
                [[_number(text, self.label, at)] for text, at in zip(part.labels, part.names, strict=True)]
            )
        column = {name: c for c, name in enumerate(self._domain.classes)}
        for text, at in zip(part.labels, part.names, strict=True):
            if text not in column:
                raise ValueError(f"{at}: label '{text}' does not occur in the training rows ({', '.join(column)}).")
        return torch.tensor([column[text] for text in part.labels])

    @cached_property
    def _splits(self) -> dict[str, Split]:
        splits = self._read(self.path)
        if self.test:
            splits["test"] = self._read(self.test)["train"]
        if "train" not in splits:
            raise ValueError(f"{self.path} has no rows to train on (splits: {', '.join(splits) or 'none'}).")
        labels = splits["train"].labels
        if self.task == "classification" and (len(set(labels)) < 2 or min(map(labels.count, set(labels))) < 3):
            counts = {name: labels.count(name) for name in sorted(set(labels))}
            raise ValueError(
                f"{self.path}: needs two or more labels of three or more training rows each; got {counts}."
            )
        if "test" not in splits:
            classes = sorted(set(labels))
            numbers = [classes.index(name) if self.task == "classification" else 0 for name in labels]
            kept, held = stratified_split(torch.tensor(numbers), 0.2, self.seed)
            whole = splits["train"]
            splits |= {"train": _part(whole, kept), "test": _part(whole, held)}
        return splits

    def _header(self, path: Path) -> list[str]:
        """The columns that are features by default."""
        with path.open(newline="", encoding="utf-8-sig") as opened:
            columns = next(csv.reader(opened, delimiter="\t" if path.suffix == ".tsv" else ","), [])
        return [c for c in columns if c not in (self.label, "split", *self.concepts)]

    def _read(self, path: Path) -> dict[str, Split]:
        """The rows of one file by split.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a column is missing, or a cell is not what its column needs; names the file and the line.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no table at {path}.")
        features = self.features or self._header(path)
        found: dict[str, list[tuple[list[float], str, list[float], str]]] = {}
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, delimiter="\t" if path.suffix == ".tsv" else ",")
            columns = reader.fieldnames or []
            for column in (self.label, *features, *self.concepts):
                if column not in columns:
                    raise ValueError(f"{path} has no column '{column}' (found: {', '.join(columns) or 'nothing'}).")
            for number, row in enumerate(reader, 2):
                at, split = f"{path.name}, line {number}", (row.get("split") or "train").strip()
                if split not in SPLITS:
                    raise ValueError(f"{at}: split is '{split}'; expected train, val or test.")
                if not (row[self.label] or "").strip():
                    raise ValueError(f"{at}: the label is empty.")
                values = [_number(row[column], column, at) for column in features]
                known = [_concept(row[column], column, at) for column in self.concepts]
                found.setdefault(split, []).append((values, row[self.label].strip(), known, at))
        return {split: _split(rows) for split, rows in found.items()}


def _split(rows: Sequence[tuple[list[float], str, list[float], str]]) -> Split:
    values, labels, concepts, names = zip(*rows, strict=True)
    return Split(torch.tensor(values), list(labels), torch.tensor(concepts), list(names))


def _part(split: Split, rows: Sequence[int]) -> Split:
    return Split(
        split.values[rows], [split.labels[i] for i in rows], split.concepts[rows], [split.names[i] for i in rows]
    )


def _number(text: str | None, column: str, at: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{at}: column '{column}' is {text!r}; expected a finite number.")
    return value


def _concept(text: str | None, column: str, at: str) -> float:
    text = (text or "").strip()
    if text not in ("0", "1", ""):
        raise ValueError(f"{at}: concept '{column}' is {text!r}; expected 0, 1 or nothing.")
    return float(text) if text else math.nan
