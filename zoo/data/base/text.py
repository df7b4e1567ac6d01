"""The base of data modules of texts with labels and concepts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.base.sampling import EpochSampler, LengthSampler
from zoo.domain import read_tokenizer, seen_pieces
from zoo.domain.text import PAD, TextDomain, build_vocabulary
from zoo.utils.checks import check_at_least, check_choice

BINARY = {"0", "1", ""}


class Texts(NamedTuple):
    """The texts of one split.

    Attributes:
        texts: N texts.
        labels: N labels.
        concepts: N values of each concept column, "" where not annotated.
        names: N names.
        origins: N texts of one origin, such as a review and its edits, have the same; None where there are no pairs.
    """

    texts: list[str]
    labels: list[str]
    concepts: dict[str, list[str]]
    names: list[str]
    origins: list[str] | None = None

    def part(self, rows: Sequence[int]) -> "Texts":
        """Some of the texts, by row number."""
        concepts = {column: [values[i] for i in rows] for column, values in self.concepts.items()}
        texts, labels, names = ([values[i] for i in rows] for values in (self.texts, self.labels, self.names))
        origins = None if self.origins is None else [self.origins[i] for i in rows]
        return Texts(texts, labels, concepts, names, origins)


class TextData(DataModule):
    """The base of data modules of texts; a subclass defines `read`.

    Attributes:
        column: name of the column of texts in tables that a model is to explain.

    A concept column of 0 and 1 is one concept; a column of other values is a group of exclusive concepts, named
    "column: value".

    Args:
        length: largest number of tokens (words, or pieces of words) of a text; the rest is cut off.
        least: smallest number of occurrences in the training texts of a word of the vocabulary, or of a seen piece.
        tokenizer: of a pretrained encoder, see `zoo.domain.read_tokenizer`, instead of a vocabulary.
        pieces: "all" pieces of the tokenizer, or the "seen" ones of the training texts and those of one character, so
            that the network needs fewer embeddings, see `zoo.domain.seen_pieces`.
        similar_lengths: training batches of texts of similar length, which have little padding and train faster.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: an argument is out of range.
    """

    column = "text"

    def __init__(
        self,
        length: int = 128,
        least: int = 2,
        tokenizer: str | None = None,
        similar_lengths: bool = False,
        pieces: str = "all",
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_at_least(1, length=length, least=least)
        check_choice(("all", "seen"), pieces=pieces)
        if pieces != "all" and tokenizer is None:
            raise ValueError(
                f"pieces '{pieces}' are those of a tokenizer, and these data have a vocabulary of words; give them "
                "tokenizer: NAME, or leave pieces out."
            )
        if similar_lengths and self.sampling != "uniform":
            raise ValueError(f"similar_lengths needs sampling 'uniform'; got sampling {self.sampling!r}.")
        self.length, self.least, self.tokenizer = length, least, tokenizer
        self.similar_lengths, self.pieces = similar_lengths, pieces

    def read(self) -> dict[str, Texts]:
        """The splits by name: "train", "test", and optionally "val"."""
        raise NotImplementedError("a data module of texts defines read()")

    @cached_property
    def splits(self) -> dict[str, Texts]:
        """The splits by name."""
        return self.read()

    @cached_property
    def _values(self) -> dict[str, tuple[str, ...]]:
        """The values of each concept column in all splits; empty for a binary concept."""
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
            tokenizer=self._tokenizer(train.texts) if self.tokenizer else "",
            length=self.length,
            column=self.column,
        )

    def _tokenizer(self, texts: Sequence[str]) -> str:
        found = read_tokenizer(str(self.tokenizer))
        return seen_pieces(found, texts, self.least) if self.pieces == "seen" else found

    def make_domain(self) -> TextDomain:
        return self._domain

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        if not self.similar_lengths:
            return super().make_sampler(dataset, generator)
        lengths = (self.items("train", True).inputs != PAD).sum(1)
        if not self._has_val:
            lengths = lengths[self._train_and_val_rows[0]]
        return LengthSampler(dataset, generator, self.seed, lengths, self.batch_size)

    def items(self, split: str, training: bool) -> Rows:
        if split not in self._encoded_splits:
            self._encoded_splits[split] = self._encode(split)
        return self._encoded_splits[split]

    @cached_property
    def _encoded_splits(self) -> dict[str, Rows]:
        return {}

    def _encode(self, split: str) -> Rows:
        part, domain = self.splits[split], self._domain
        if unknown := sorted(set(part.labels) - set(domain.classes)):
            raise ValueError(f"the {split} split has labels that the train split lacks: {', '.join(unknown[:5])}.")
        inputs = torch.stack([domain.preprocess(text) for text in part.texts])
        targets = torch.tensor([domain.classes.index(label) for label in part.labels])
        concepts = self._labels(part) if domain.concepts else None
        partners = None if part.origins is None else following_of_origin(part.origins)
        return Rows(inputs, targets, part.names, concepts, partners=partners)

    def _labels(self, part: Texts) -> Tensor:
        """Concepts (N, k) in {0, 1, NaN}."""
        columns: list[Tensor] = []
        for column, values in self._values.items():
            annotated = torch.tensor([cell != "" for cell in part.concepts[column]])
            for value in values or ("1",):
                present = torch.tensor([cell == value for cell in part.concepts[column]]).float()
                columns.append(present.masked_fill(~annotated, torch.nan))
        return torch.stack(columns, 1)


def following_of_origin(origins: Sequence[str]) -> Tensor:
    """(N,) number of the next text of the same origin, of the last one that of the first; its own if it is alone."""
    members: dict[str, list[int]] = {}
    for i, origin in enumerate(origins):
        members.setdefault(origin, []).append(i)
    found = torch.empty(len(origins), dtype=torch.long)
    for rows in members.values():
        found[rows] = torch.tensor([*rows[1:], rows[0]])
    return found
