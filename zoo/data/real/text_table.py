"""The user's own texts, in a CSV or TSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.data.base.sampling import stratified_split
from zoo.data.base.text import TextData, Texts
from zoo.utils.paths import expand


class TextTable(TextData):
    """Texts in a CSV or TSV file with a column of texts, a column of labels and optionally columns of concepts.

    Without a column `split` (train, val, test) and without `test`, 20 % of the texts of every label are the test set.

    Args:
        path: of the table; tab-separated if it ends in .tsv.
        text: name of the column of texts.
        label: name of the column of labels.
        concepts: names of the columns of concepts: 0, 1 or empty (not annotated), or any values, one per text.
        test: another table with the same columns, for the test.
        **texts: `length`, `least`, `tokenizer`, `batch_size`, `workers`, `seed` and `val_fraction`, see `TextData`.
    """

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str = "label",
        concepts: Sequence[str] = (),
        test: str | None = None,
        **texts: Any,
    ) -> None:
        super().__init__(**texts)
        self.path, self.test = expand(path), expand(test) if test else None
        self.text, self.label, self.concepts = text, label, list(concepts)

    def read(self) -> dict[str, Texts]:
        splits = self._table(self.path)
        if self.test:
            splits["test"] = next(iter(self._table(self.test).values()))
        if "train" not in splits:
            raise ValueError(f"{self.path} has no rows to train on (splits: {', '.join(splits) or 'none'}).")
        if "test" not in splits:
            train, classes = splits["train"], sorted(set(splits["train"].labels))
            kept, held = stratified_split(torch.tensor([classes.index(x) for x in train.labels]), 0.2, self.seed)
            splits |= {"train": train.part(kept), "test": train.part(held)}
        counts = {label: splits["train"].labels.count(label) for label in set(splits["train"].labels)}
        if len(counts) < 2 or min(counts.values()) < 3:
            raise ValueError(
                f"{self.path}: a classifier needs two or more labels of three or more training texts each; got "
                f"{dict(sorted(counts.items()))}."
            )
        return splits

    def _table(self, path: Path) -> dict[str, Texts]:
        if not path.is_file():
            raise FileNotFoundError(f"no table at {path}.")
        splits: dict[str, Texts] = {}
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, delimiter="\t" if path.suffix == ".tsv" else ",")
            found = reader.fieldnames or []
            for column in (self.text, self.label, *self.concepts):
                if column not in found:
                    raise ValueError(f"{path} has no column '{column}' (found: {', '.join(found) or 'nothing'}).")
            for number, row in enumerate(reader, 2):
                split = (row.get("split") or "train").strip()
                if split not in ("train", "val", "test"):
                    raise ValueError(f"{path}, line {number}: split is '{split}'; expected train, val or test.")
                if not (row[self.text] or "").strip() or not row[self.label]:
                    raise ValueError(f"{path}, line {number}: text and label must not be empty.")
                part = splits.setdefault(split, Texts([], [], {c: [] for c in self.concepts}, []))
                part.texts.append(row[self.text])
                part.labels.append(row[self.label].strip())
                part.names.append(f"{path.name}, line {number}")
                for column in self.concepts:
                    part.concepts[column].append((row[column] or "").strip())
        return splits
