"""Texts as numbers of words or subwords."""

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
from zoo.domain.written import Token, written_tokens
from zoo.utils.csv_files import TABLES, read_table
from zoo.utils.paths import read_text

PAD, UNKNOWN, FIRST = 0, 1, 2  # token numbers: padding, words outside of the vocabulary, the first word
ENDS, BAR = (".", "!", "?"), "|"  # ends of sentences; three bars separate a question from its text
INSIDE, OUTSIDE = "##", ("\u0120", "\u2581")  # marks of pieces inside of a word, and of the first piece of one
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class TextDomain(Domain):
    """Texts of at most T tokens, as token numbers (T,) int64, padded with 0.

    Tokens are words of a vocabulary, or subwords of a pretrained encoder's own tokenizer. The tokenizer is kept as
    text, so that a checkpoint needs neither the hub nor another file. Token numbers are those of the vocabulary or
    tokenizer plus 2, so that 0 is always padding and 1 unknown. Special tokens around a text, such as [CLS], are added
    by the encoder; they belong neither to the input nor to an explanation.

    Attributes:
        vocabulary: the known words in lower case; word i has the number i + 2, any other word 1.
        tokenizer: in place of a vocabulary, JSON as `zoo.domain.read_tokenizer` returns it; subword i has the number
            i + 2.
        length: T; longer texts are truncated.
        column: name of the column of texts in a table.

    Raises:
        ValueError: a length below 1, duplicate words, or not exactly one of vocabulary and tokenizer.
    """

    modality: ClassVar[str] = "text"
    noun: ClassVar[str] = "texts"
    endings: ClassVar[frozenset[str]] = frozenset({".txt", *TABLES})
    quoted: ClassVar[bool] = True
    vocabulary: tuple[str, ...] = ()
    tokenizer: str = ""
    length: int = 128
    column: str = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}.")
        if self.tokenizer:
            if self.vocabulary:
                raise ValueError("a domain of texts has a vocabulary or a tokenizer; got both.")
            _ = self.subwords  # raises ValueError if it is not a tokenizer
        elif len(set(self.vocabulary)) < len(self.vocabulary) or not self.vocabulary:
            raise ValueError(f"the vocabulary must be different words, at least one; got {len(self.vocabulary)}.")

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def size(self) -> int:
        """Number of token numbers, padding and unknown included."""
        return len(self._tokens) + FIRST

    @cached_property
    def subwords(self) -> Subwords:
        """The tokenizer.

        Raises:
            ValueError: this domain has words of a vocabulary instead.
        """
        if not self.tokenizer:
            raise ValueError(
                "this domain of texts has a vocabulary and no tokenizer; create its data with tokenizer=NAME."
            )
        return Subwords(self.tokenizer)

    @property
    def _tokens(self) -> tuple[str, ...]:
        return self.subwords.pieces if self.tokenizer else self.vocabulary

    def token(self, number: int) -> str:
        """The token of a number, as in the vocabulary or the tokenizer; "\u2039?\u203a" for unknown ones."""
        return self._tokens[number - FIRST] if number >= FIRST else "\u2039?\u203a"

    @cached_property
    def _number(self) -> dict[str, int]:
        return {token: i + FIRST for i, token in enumerate(self._tokens)}

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError: not a tensor of int64.
            ValueError: wrong shape, an empty batch, or numbers out of range.
        """
        self.check_shape(x, model)
        if x.dtype != torch.long:
            raise TypeError(
                f"{self._wanted(model)} of token numbers, int64; got {x.dtype}. Use domain.preprocess(text)."
            )
        if int(x.min()) < 0 or int(x.max()) >= self.size:
            raise ValueError(
                f"{model} got token numbers from {int(x.min())} to {int(x.max())}; expected 0 to {self.size - 1}. "
                "Use the numbers of domain.preprocess(text) of this domain."
            )

    def preprocess(self, text: str) -> Tensor:
        """Converts a text to token numbers (T,).

        Raises:
            ValueError: the text has no words.
        """
        numbers = self._numbers(text)[: self.length]
        if not numbers:
            raise ValueError(f"the text has no words; got {text[:40]!r}.")
        return torch.tensor(numbers + [PAD] * (self.length - len(numbers)))

    def tokens(self, x: Tensor, text: str = "") -> tuple[list[Token], str]:
        """The tokens of one input, and the rest of the text, which the model does not read.

        Args:
            x: token numbers (T,).
            text: of which `preprocess` made the input; without it, known words are as in the vocabulary.
        """
        known = [n != UNKNOWN for n in x.tolist() if n != PAD]
        spans = self._spans(text)[: self.length]
        if len(spans) == len(known):
            return written_tokens(text, spans, known)
        pieces = [(" " * (w > 0 and i == 0), p) for w, word in enumerate(self.pieces(x)) for i, p in enumerate(word)]
        return [Token(before, piece, is_known) for (before, piece), is_known in zip(pieces, known, strict=True)], ""

    def warnings(self, raw: str, x: Tensor) -> list[str]:
        total = len(self._numbers(raw))
        read, unknown = min(total, self.length), int((x == UNKNOWN).sum())
        found = []
        if unknown:
            found.append(f"{unknown} of {read} words {'is' if unknown == 1 else 'are'} unknown to the model.")
        if total > self.length:
            found.append(f"The text has {total} words; the model reads the first {self.length}.")
        return found

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in the text."""
        if self.tokenizer:
            return self.subwords.spans(text)
        origin = [i for i, character in enumerate(text) for _ in character.lower()]  # of each lower-case character
        return [(origin[found.start()], origin[found.end() - 1] + 1) for found in WORD.finditer(text.lower())]

    def _numbers(self, text: str) -> list[int]:
        if not self.tokenizer:
            return [self._number.get(word, UNKNOWN) for word in split_words(text)]
        return [UNKNOWN if i == self.subwords.unknown else i + FIRST for i in self.subwords.encode(text)]

    def sentences(self, x: Tensor) -> Tensor:
        """Number of the sentence that each token belongs to, from 0; -1 for padding.

        A sentence ends with ".", "!" or "?", or a run of them.

        Args:
            x: token numbers (B, T).

        Returns:
            (B, T) int64.
        """
        end = torch.isin(x, torch.tensor(self._ends, device=x.device))
        last = end & ~torch.cat([end[:, 1:], torch.zeros_like(end[:, :1])], 1)
        return torch.where(x == PAD, -1, last.cumsum(1) - last.long())

    def word_numbers(self, x: Tensor) -> Tensor:
        """Number of the word that each token belongs to, from 0; -1 for padding.

        Words are as the tokenizer cuts them before it cuts pieces; of a vocabulary, each token is one.

        Args:
            x: token numbers (B, T).

        Returns:
            (B, T) int64.
        """
        starts = (x != PAD) & ~torch.isin(x, torch.tensor(self._inside, device=x.device, dtype=x.dtype))
        starts[:, 0] = True  # a text may be cut within a word
        return (starts.cumsum(1) - 1).masked_fill(x == PAD, -1)

    @cached_property
    def _inside(self) -> list[int]:
        """Numbers of the pieces that go on with a word: marked so, or of letters without the mark of a first piece."""
        if not self.tokenizer:
            return []
        if any(piece.startswith(INSIDE) for piece in self._number):
            return [n for piece, n in self._number.items() if piece.startswith(INSIDE)]
        marked = any(piece.startswith(OUTSIDE) for piece in self._number)
        return [n for piece, n in self._number.items() if marked and piece[:1].isalnum()]

    @cached_property
    def _ends(self) -> list[int]:
        """Numbers of the tokens that end a sentence; subwords may have marks of their place in a word."""
        return [
            n for token, n in self._number.items() if (bare := token.lstrip("#Ġ▁")) and not bare.strip("".join(ENDS))
        ]

    def question(self, x: Tensor) -> Tensor:
        """Marks the question of each text: the tokens up to and with the separator "|||".

        Args:
            x: token numbers (B, T).

        Returns:
            (B, T) bool.
        """
        bar = self._number.get(BAR)
        if bar is None:
            return torch.zeros_like(x, dtype=torch.bool)
        run = (x == bar) & (x.roll(1, 1) == bar) & (x.roll(2, 1) == bar)
        run[:, :2] = False
        return run.flip(1).cumsum(1).flip(1) > 0

    def words(self, x: Tensor) -> list[str]:
        """Words of one input (T,), without padding; "\u2039?\u203a" for unknown ones."""
        return ["".join(pieces) for pieces in self.pieces(x)]

    def pieces(self, x: Tensor) -> list[list[str]]:
        """Words of one input (T,), each as a list of its subwords, one for every token except padding."""
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

    def raw(self, path: str | Path) -> str:
        """The text of a file, or of a table with a header and one row.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not UTF-8 text, or is a table without the column or with other than 1 row.
        """
        path = Path(path)
        if path.suffix.lower() not in TABLES:
            return read_text(path, "text file")
        texts = self.rows(path)
        if len(texts) != 1:
            raise ValueError(f"{path} has {len(texts)} rows; expected a header and one row.")
        return texts[0]

    def rows(self, path: str | Path) -> list[str]:
        if Path(path).suffix.lower() not in TABLES:
            return []
        return [row.cells[self.column] for row in read_table(Path(path), [self.column], "table of texts").rows]

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Inputs (count, T) of random words."""
        return torch.randint(FIRST, self.size, (count, self.length), generator=generator)


def split_words(text: str) -> list[str]:
    """Splits a text into words and punctuation marks, in lower case."""
    return WORD.findall(text.lower())


def build_vocabulary(texts: Iterable[str], least: int = 2, most: int = 20_000) -> tuple[str, ...]:
    """Words that occur at least `least` times, at most `most` of them, the most frequent first."""
    counts = Counter(word for text in texts for word in split_words(text))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(word for word, count in ordered[:most] if count >= least)
