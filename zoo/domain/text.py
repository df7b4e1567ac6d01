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
from zoo.domain.subwords import Subwords

PAD, UNKNOWN, FIRST = 0, 1, 2  # token numbers: padding, words that are not in the vocabulary, the first word
ENDS, BAR = (".", "!", "?"), "|"  # of sentences; three of the latter separate a question from what it asks about
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class TextDomain(Domain):
    """Texts of at most T tokens, as token numbers (T,) int64, padded with 0.

    Tokens are words of a vocabulary, or the pieces of words of a pretrained encoder's own tokenizer. The tokenizer is
    kept whole, as text, so that a checkpoint reads texts with neither the hub nor a file at hand. Its numbers are moved
    by two, as those of words are, so that 0 is padding and 1 unknown whatever the tokenizer has there. Special tokens
    around a text, such as [CLS], are no part of the input, and so never of an explanation: the encoder adds them.

    Attributes:
        vocabulary: the known words, lower case; word i has the number i + 2, any other word 1.
        tokenizer: in place of a vocabulary, see `zoo.domain.read_tokenizer`: JSON; its piece i has the number i + 2.
        length: T; what is longer is cut.
    """

    modality: ClassVar[str] = "text"
    noun: ClassVar[str] = "texts"
    vocabulary: tuple[str, ...] = ()
    tokenizer: str = ""
    length: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}.")
        if self.tokenizer:
            if self.vocabulary:
                raise ValueError("a domain of texts has a vocabulary or a tokenizer; got both.")
            _ = self.subwords  # refuses what is no tokenizer
        elif len(set(self.vocabulary)) < len(self.vocabulary) or not self.vocabulary:
            raise ValueError(f"the vocabulary must be different words, at least one; got {len(self.vocabulary)}.")

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def size(self) -> int:
        """How many token numbers there are, padding and unknown included."""
        return len(self._tokens) + FIRST

    @cached_property
    def subwords(self) -> Subwords:
        """The tokenizer.

        Raises:
            ValueError: this domain has words of a vocabulary instead.
            ImportError: the extra `text` is not installed.
        """
        if not self.tokenizer:
            raise ValueError(
                "this domain of texts has a vocabulary and no tokenizer; make its data with tokenizer=NAME."
            )
        return Subwords(self.tokenizer)

    @property
    def _tokens(self) -> tuple[str, ...]:
        return self.subwords.pieces if self.tokenizer else self.vocabulary

    @cached_property
    def _number(self) -> dict[str, int]:
        return {token: i + FIRST for i, token in enumerate(self._tokens)}

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
        numbers = self._numbers(text)[: self.length]
        if not numbers:
            raise ValueError(f"the text has no words; got {text[:40]!r}.")
        return torch.tensor(numbers + [PAD] * (self.length - len(numbers)))

    def _numbers(self, text: str) -> list[int]:
        if not self.tokenizer:
            return [self._number.get(word, UNKNOWN) for word in split_words(text)]
        return [UNKNOWN if i == self.subwords.unknown else i + FIRST for i in self.subwords.encode(text)]

    def sentences(self, x: Tensor) -> Tensor:
        """(B, T) for tokens (B, T) the number of the sentence that each belongs to, from 0; -1 for padding.

        A sentence ends with ".", "!" or "?", or a run of them.
        """
        end = torch.isin(x, torch.tensor(self._ends, device=x.device))
        last = end & ~torch.cat([end[:, 1:], torch.zeros_like(end[:, :1])], 1)
        return torch.where(x == PAD, -1, last.cumsum(1) - last.long())

    @cached_property
    def _ends(self) -> list[int]:
        """Numbers of the tokens that end a sentence: pieces may carry marks of where they stand in a word."""
        return [
            n for token, n in self._number.items() if (bare := token.lstrip("#Ġ▁")) and not bare.strip("".join(ENDS))
        ]

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
        return ["".join(pieces) for pieces in self.pieces(x)]

    def pieces(self, x: Tensor) -> list[list[str]]:
        """The words of one input (T,), each as the pieces that it is made of, one for each token that is no padding."""
        numbers = [n for n in x.tolist() if n != PAD]
        if not self.tokenizer:
            return [["\u2039?\u203a" if n == UNKNOWN else self.vocabulary[n - FIRST]] for n in numbers]
        unknown = self.subwords.unknown or 0
        words: list[list[str]] = []
        texts = self.subwords.decode([unknown if n == UNKNOWN else n - FIRST for n in numbers])
        for n, text in zip(numbers, texts, strict=True):
            if not words or text[:1].isspace():
                words.append([])
            words[-1].append("\u2039?\u203a" if n == UNKNOWN else text.strip())
        return words

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
