"""Texts: words of a vocabulary as numbers, and back."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain

PAD, UNKNOWN, FIRST = 0, 1, 2  # token numbers: padding, words that are not in the vocabulary, the first word
ENDS, BAR = (".", "!", "?"), "|"  # of sentences; three of the latter separate a question from what it asks about
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class TextDomain(Domain):
    """Texts of at most T words, as token numbers (T,) int64, padded with 0.

    Attributes:
        vocabulary: the known words, lower case; word i has the number i + 2, any other word 1.
        length: T; what is longer is cut.
    """

    modality: ClassVar[str] = "text"
    noun: ClassVar[str] = "texts"
    vocabulary: tuple[str, ...]
    length: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}.")
        if len(set(self.vocabulary)) < len(self.vocabulary) or not self.vocabulary:
            raise ValueError(f"the vocabulary must be different words, at least one; got {len(self.vocabulary)}.")

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def size(self) -> int:
        """How many token numbers there are, padding and unknown included."""
        return len(self.vocabulary) + FIRST

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: i + FIRST for i, word in enumerate(self.vocabulary)}

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError: no tensor, or not of int64.
            ValueError: wrong shape, an empty batch, or numbers that are no tokens.
        """
        self.check_shape(x, model)
        if x.dtype != torch.long:
            raise TypeError(
                f"{self._wanted(model)} of token numbers, int64; got {x.dtype}. Use domain.preprocess(text)."
            )
        if int(x.min()) < 0 or int(x.max()) >= self.size:
            raise ValueError(
                f"{model} got token numbers from {int(x.min())} to {int(x.max())}; expected 0 to {self.size - 1}. "
                "They come from domain.preprocess(text) of this very domain."
            )

    def preprocess(self, text: str) -> Tensor:
        """A text as token numbers (T,).

        Raises:
            ValueError: there is no word in it.
        """
        words = split_words(text)[: self.length]
        if not words:
            raise ValueError(f"the text has no words; got {text[:40]!r}.")
        numbers = [self._number.get(word, UNKNOWN) for word in words]
        return torch.tensor(numbers + [PAD] * (self.length - len(numbers)))

    def sentences(self, x: Tensor) -> Tensor:
        """(B, T) for tokens (B, T) the number of the sentence that each belongs to, from 0; -1 for padding.

        A sentence ends with ".", "!" or "?", or a run of them.
        """
        marks = torch.tensor([self._number[mark] for mark in ENDS if mark in self._number], device=x.device)
        end = torch.isin(x, marks)
        last = end & ~torch.cat([end[:, 1:], torch.zeros_like(end[:, :1])], 1)
        return torch.where(x == PAD, -1, last.cumsum(1) - last.long())

    def question(self, x: Tensor) -> Tensor:
        """(B, T) for tokens (B, T) whether each belongs to a question, the part up to and with the separator "|||"."""
        bar = self._number.get(BAR)
        if bar is None:
            return torch.zeros_like(x, dtype=torch.bool)
        run = (x == bar) & (x.roll(1, 1) == bar) & (x.roll(2, 1) == bar)
        run[:, :2] = False
        return run.flip(1).cumsum(1).flip(1) > 0

    def words(self, x: Tensor) -> list[str]:
        """The words of one input (T,), without padding; "\u2039?\u203a" for those that are not in the vocabulary."""
        return ["\u2039?\u203a" if n == UNKNOWN else self.vocabulary[n - FIRST] for n in x.tolist() if n != PAD]

    def read(self, path: str | Path) -> Tensor:
        """Reads a text file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no UTF-8 text, or empty.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no text file at {path}.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no UTF-8 text ({error}); convert it, or leave it out.") from error
        return self.preprocess(text)

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Seeded inputs (count, T) of random words."""
        return torch.randint(FIRST, self.size, (count, self.length), generator=generator)


def split_words(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case."""
    return WORD.findall(text.lower())


def build_vocabulary(texts: Iterable[str], least: int = 2, most: int = 20_000) -> tuple[str, ...]:
    """The words that occur at least `least` times, at most `most` of them, the most frequent first."""
    counts = Counter(word for text in texts for word in split_words(text))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(word for word, count in ordered[:most] if count >= least)
