"""Source code as token numbers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.domain.subwords import Subwords
from zoo.utils.paths import read_text

PAD, END = 0, 1
SPECIAL = ("<|pad|>", "<|end|>")  # their numbers are 0 and 1


@dataclass(frozen=True, kw_only=True)
class CodeDomain(Domain):
    """Prompts of at most T tokens, as numbers (T,) int64, padded on the right with 0; scores are of the next token.

    Attributes:
        classes: the tokens; by default named by their texts.
        tokenizer: JSON, as `tokenizers.Tokenizer.to_str()` writes it; its first two tokens are "<|pad|>" and "<|end|>",
            the end of a document.
        length: T.

    Raises:
        ValueError: a length below 1, a tokenizer without these tokens, or another number of classes than tokens.
    """

    modality: ClassVar[str] = "code"
    noun: ClassVar[str] = "prompts"
    endings: ClassVar[frozenset[str]] = frozenset({".py", ".txt"})
    quoted: ClassVar[bool] = True
    classes: tuple[str, ...] = ()
    tokenizer: str
    length: int = 256

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}.")
        if self.pieces.pieces[:2] != SPECIAL:
            raise ValueError(
                f"the first tokens of a tokenizer of code must be {SPECIAL[0]} and {SPECIAL[1]}; got "
                f"{', '.join(self.pieces.pieces[:2])}. zoo.data.base.tokenized.train_tokenizer adds them."
            )
        if not self.classes:
            object.__setattr__(self, "classes", _names(self.texts))
        super().__post_init__()
        if len(self.classes) != self.size:
            raise ValueError(
                f"the classes of a domain of code are the {self.size} tokens of its tokenizer; got {len(self.classes)} "
                "names. Leave them out to name each by its text."
            )

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.pieces.pieces)

    @cached_property
    def pieces(self) -> Subwords:
        """The tokenizer."""
        return Subwords(self.tokenizer)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Text of each token; "\ufffd" for a part of a character."""
        return (*SPECIAL, *(self.pieces.tokenizer.decode([n]) for n in range(2, self.size)))

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError: not a tensor of int64.
            ValueError: wrong shape, an empty batch, numbers out of range, or padding before a token.
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
        real = x != PAD
        wrong = ~real[:, 0] | (real[:, 1:] & ~real[:, :-1]).any(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{model} got padding (token 0) before a token in row {int(wrong.nonzero()[0])} of the batch; prompts "
                "are padded on the right and have at least one token."
            )

    def preprocess(self, text: str, cut: bool = False) -> Tensor:
        """Converts a prompt to token numbers (T,).

        Args:
            text: the prompt.
            cut: drop the first tokens of a prompt that is too long.

        Raises:
            ValueError: the prompt is empty or too long.
        """
        numbers = self.encode(text)
        if not numbers:
            raise ValueError("the prompt is empty; give at least one character.")
        if len(numbers) > self.length and not cut:
            raise ValueError(
                f"the prompt has {len(numbers)} tokens, but the model reads at most {self.length}; shorten it, or let "
                "domain.preprocess(text, cut=True) drop its first tokens."
            )
        numbers = numbers[-self.length :]
        return torch.tensor(numbers + [PAD] * (self.length - len(numbers)))

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text of any length."""
        return self.pieces.encode(text)

    def token(self, text: str) -> int:
        """Number of the token that a text consists of.

        Raises:
            ValueError: the text is empty, or has several tokens.
        """
        numbers = self.encode(text)
        if len(numbers) != 1:
            pieces = ", ".join(repr(self.texts[n]) for n in numbers)
            raise ValueError(f"{text!r} must be a single token; it has {len(numbers)}: {pieces or 'none'}.")
        return numbers[0]

    def first_token(self, text: str) -> int:
        """Number of the first token of a text.

        Raises:
            ValueError: the text is empty.
        """
        numbers = self.encode(text)
        if not numbers:
            raise ValueError("an empty text has no tokens.")
        return numbers[0]

    def lengths(self, x: Tensor) -> Tensor:
        """Number of tokens (B,) of each prompt (B, T); the model predicts the token after the last of them."""
        return (x != PAD).sum(1)

    def tokens(self, x: Tensor) -> list[str]:
        """Texts of the tokens of one prompt (T,), without padding."""
        return [self.texts[n] for n in x.tolist() if n != PAD]

    def raw(self, path: str | Path) -> str:
        """The prompt in a file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not UTF-8 text.
        """
        return read_text(Path(path), "file of code")

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Prompts (count, T) of random tokens."""
        return torch.randint(len(SPECIAL), self.size, (count, self.length), generator=generator)


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """A name for each token, with blanks and newlines visible; equal names get the token's number."""
    shown = [repr(text) for text in texts]
    seen: set[str] = set()
    twice = {name for name in shown if name in seen or seen.add(name)}
    return tuple(f"{name} #{i}" if name in twice else name for i, name in enumerate(shown))
