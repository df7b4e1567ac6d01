"""Texts with labels and concepts: any table of them, and the restaurant reviews of CEBaB."""

import csv
import json
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.base.sampling import stratified_split
from zoo.domain import read_tokenizer
from zoo.domain.text import TextDomain, build_vocabulary
from zoo.utils.paths import expand

BINARY = {"0", "1", ""}


class Texts(NamedTuple):
    """The rows of one split: texts, their labels, and for each concept column its values ("" where unknown)."""

    texts: list[str]
    labels: list[str]
    concepts: dict[str, list[str]]
    names: list[str]


class TextData(DataModule):
    """The base of data modules of texts; a data set defines `read`.

    A concept column of 0 and 1 is one concept; one of other values is a group of exclusive concepts, "column: value".

    Args:
        length: tokens (words, or pieces of words) of a text, at most.
        least: a word is in the vocabulary if the training texts have it so many times.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits and the shuffles.
        val_fraction: share of the training texts held out for validation, if there is no val split.
        tokenizer: of a pretrained encoder, see `zoo.domain.read_tokenizer`, in place of a vocabulary.
    """

    def __init__(
        self,
        length: int = 128,
        least: int = 2,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        if length < 1 or least < 1:
            raise ValueError(f"expected length >= 1 and least >= 1; got {length} and {least}.")
        self.length, self.least, self.tokenizer = length, least, tokenizer

    def read(self) -> dict[str, Texts]:
        """The splits by name: "train", perhaps "val", "test"."""
        raise NotImplementedError("a data module of texts defines read()")

    @cached_property
    def splits(self) -> dict[str, Texts]:
        return self.read()

    @cached_property
    def _values(self) -> dict[str, tuple[str, ...]]:
        """The values of each concept column, of all splits; none for a binary concept."""
        found: dict[str, set[str]] = {}
        for split in self.splits.values():
            for column, values in split.concepts.items():
                found.setdefault(column, set()).update(values)
        return {c: () if v <= BINARY else tuple(sorted(v - {""})) for c, v in found.items()}

    @cached_property
    def _domain(self) -> TextDomain:
        train = self.splits["train"]
        groups = {c: tuple(f"{c}: {v}" for v in values) for c, values in self._values.items() if values}
        names = [name for c, values in self._values.items() for name in (groups[c] if values else (c,))]
        return TextDomain(
            classes=tuple(sorted(set(train.labels))),
            concepts=tuple(names),
            concept_groups=groups,
            exclusive=tuple(groups),
            vocabulary=() if self.tokenizer else build_vocabulary(train.texts, self.least),
            tokenizer=read_tokenizer(self.tokenizer) if self.tokenizer else "",
            length=self.length,
        )

    def make_domain(self) -> TextDomain:
        return self._domain

    def items(self, split: str, training: bool) -> Rows:
        return self._rows_by_split[split] if split in self._rows_by_split else self._encoded(split)

    @cached_property
    def _rows_by_split(self) -> dict[str, Rows]:
        return {}

    def _encoded(self, split: str) -> Rows:
        part, domain = self.splits[split], self._domain
        strange = sorted(set(part.labels) - set(domain.classes))
        if strange:
            raise ValueError(f"the {split} split has labels that train has not: {', '.join(strange[:5])}.")
        inputs = torch.stack([domain.preprocess(text) for text in part.texts])
        targets = torch.tensor([domain.classes.index(label) for label in part.labels])
        concepts = self._labels(part) if domain.concepts else None
        rows = self._rows_by_split[split] = Rows(inputs, targets, part.names, concepts)
        return rows

    def _labels(self, part: Texts) -> Tensor:
        """(N, k) in {0, 1, NaN}."""
        columns: list[Tensor] = []
        for column, values in self._values.items():
            known = torch.tensor([cell != "" for cell in part.concepts[column]])
            for value in values or ("1",):
                here = torch.tensor([cell == value for cell in part.concepts[column]]).float()
                columns.append(here.masked_fill(~known, torch.nan))
        return torch.stack(columns, 1)


class TextTable(TextData):
    """Texts in a CSV or TSV with a column of texts, one of labels and perhaps columns of concepts.

    Args:
        path: of the table; tab-separated if it ends in .tsv.
        text: column of the texts.
        label: column of the labels.
        concepts: columns of concepts: 0, 1 or empty (not annotated), or any values, of which one holds.
        test: another table of the same columns to test on; without it and without a column `split` (train, val,
            test), 20 % of every label are.
        length: tokens (words, or pieces of words) of a text, at most.
        least: a word is in the vocabulary if the training texts have it so many times.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits and the shuffles.
        val_fraction: share of the training texts held out for validation, if there is no val split.
        tokenizer: of a pretrained encoder, see `zoo.domain.read_tokenizer`, in place of a vocabulary.
    """

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str = "label",
        concepts: Sequence[str] = (),
        test: str | None = None,
        length: int = 128,
        least: int = 2,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(length, least, batch_size, workers, seed, val_fraction, tokenizer)
        self.path, self.test = expand(path), expand(test) if test else None
        self.text, self.label, self.concepts = text, label, list(concepts)

    def read(self) -> dict[str, Texts]:
        splits = self._table(self.path)
        if self.test:
            splits["test"] = next(iter(self._table(self.test).values()))
        if "train" not in splits:
            raise ValueError(f"{self.path} has no rows to train on (splits: {', '.join(splits) or 'none'}).")
        if "test" not in splits:
            whole, classes = splits["train"], sorted(set(splits["train"].labels))
            kept, held = stratified_split(torch.tensor([classes.index(x) for x in whole.labels]), 0.2, self.seed)
            splits |= {"train": _part(whole, kept), "test": _part(whole, held)}
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


class CEBaB(TextData):
    """CEBaB 1.1: restaurant reviews of one to five stars, with food, ambiance, service and noise as concepts.

    Each aspect is negative, positive or unknown; where workers disagreed it is unknown, where nobody was asked it is
    missing. Reviews without a majority of stars are left out. Official splits.

    Abraham et al.: "CEBaB: Estimating the Causal Effects of Real-World Concepts on NLP Model Behavior", NeurIPS 2022.

    Args:
        root: folder with CEBaB-v1.1.zip or what it unpacks to; by default $ZOO_DATA/text/cebab.
        train: "inclusive" (originals and edits), "exclusive" (one of each) or "observational" (originals).
        length: tokens (words, or pieces of words) of a text, at most.
        least: a word is in the vocabulary if the training texts have it so many times.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the shuffles.
        tokenizer: of a pretrained encoder, see `zoo.domain.read_tokenizer`, in place of a vocabulary.
    """

    def __init__(
        self,
        root: str = "$ZOO_DATA/text/cebab",
        train: str = "inclusive",
        length: int = 128,
        least: int = 2,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(length, least, batch_size, workers, seed, tokenizer=tokenizer)
        if train not in ("inclusive", "exclusive", "observational"):
            raise ValueError(f"train must be 'inclusive', 'exclusive' or 'observational'; got '{train}'.")
        self.root, self.train = expand(root), train

    def read(self) -> dict[str, Texts]:
        files = {"train": f"train_{self.train}", "val": "dev", "test": "test"}
        return {split: _reviews(self._rows(f"{name}.json")) for split, name in files.items()}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        for path in (self.root / name, self.root / "CEBaB-v1.1" / name):
            if path.is_file():
                return json.loads(path.read_text(encoding="utf-8"))
        archive = self.root / "CEBaB-v1.1.zip"
        if not archive.is_file():
            raise FileNotFoundError(f"neither {name} nor CEBaB-v1.1.zip in {self.root}; give its folder as root.")
        with zipfile.ZipFile(archive) as opened:
            return json.loads(opened.read(f"CEBaB-v1.1/{name}"))


def _reviews(rows: list[dict[str, Any]]) -> Texts:
    rated = [row for row in rows if row["review_majority"] in set("12345")]
    meaning = {"Positive": "positive", "Negative": "negative", "unknown": "unknown", "no majority": "unknown"}
    aspects = ("food", "ambiance", "service", "noise")
    concepts = {a: [meaning.get(row[f"{a}_aspect_majority"], "") for row in rated] for a in aspects}
    stars = [f"{row['review_majority']} star{'' if row['review_majority'] == '1' else 's'}" for row in rated]
    return Texts([row["description"] for row in rated], stars, concepts, [f"review {row['id']}" for row in rated])


def _part(whole: Texts, rows: list[int]) -> Texts:
    pick = lambda values: [values[i] for i in rows]  # noqa: E731
    concepts = {column: pick(values) for column, values in whole.concepts.items()}
    return Texts(pick(whole.texts), pick(whole.labels), concepts, pick(whole.names))
