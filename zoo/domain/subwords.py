"""Tokenizers of pretrained text encoders: conversion of texts to numbers of subwords, and back."""

from importlib import import_module
from pathlib import Path

from zoo.utils.hub import require_model
from zoo.utils.panics import panics_are_errors
from zoo.utils.weight_packages import remedy, text_model

FILE = "tokenizer.json"
LARGEST = 2**22  # numbers of pieces


class Subwords:
    """A tokenizer of the library `tokenizers`, built from its JSON text.

    Args:
        text: JSON, as `tokenizers.Tokenizer.to_str()` writes it.

    Attributes:
        pieces: the subwords by their number; "" for an unused number.
        unknown: number of the subword for text that has no other; None if the tokenizer has none.
        before: numbers of the special tokens that it adds before a text, such as [CLS] of BERT.
        after: numbers of those that it adds after a text, such as [SEP].

    Raises:
        ValueError: the text is not a tokenizer, or the tokenizer has no subwords, or one
            of a huge number.
    """

    def __init__(self, text: str) -> None:
        library = import_module("tokenizers")
        try:
            with panics_are_errors():
                self.tokenizer = library.Tokenizer.from_str(text)
        except Exception as error:  # the library raises no more specific type
            raise ValueError(
                f"tokenizer must be the JSON text of a tokenizer, as zoo.domain.read_tokenizer(name) gives it; got "
                f"{text[:40]!r} ({error})."
            ) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # "[SEP]" in a text is a word like any other
        numbers = self.tokenizer.get_vocab(with_added_tokens=True)
        if not numbers:
            raise ValueError("the tokenizer has no pieces; train it, or use another.")
        by_number = {number: piece for piece, number in numbers.items()}
        if max(by_number) >= LARGEST:
            raise ValueError(
                f"the tokenizer has a piece of number {max(by_number):,}; at most {LARGEST:,} are accepted."
            )
        self.pieces = tuple(by_number.get(i, "") for i in range(max(by_number) + 1))
        model = self.tokenizer.model
        name = getattr(model, "unk_token", None)
        self.unknown: int | None = getattr(model, "unk_id", None) if name is None else numbers.get(name)
        self.before, self.after = self._frame()

    def _frame(self) -> tuple[list[int], list[int]]:
        probe = next((p for p in self.pieces if p and self.encode(p)), "")
        encoded = self.tokenizer.encode(probe)
        special = encoded.special_tokens_mask
        if 0 not in special:
            return [], []
        first, last = special.index(0), len(special) - special[::-1].index(0)
        return encoded.ids[:first], encoded.ids[last:]

    def encode(self, text: str) -> list[int]:
        """Numbers of the subwords of a text, without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end in the text of each subword that `encode` gives."""
        return self.tokenizer.encode(text, add_special_tokens=False).offsets

    def decode(self, numbers: list[int]) -> list[str]:
        """Text of each subword in the context of those before it; one that starts a word has a leading blank.

        If a character takes several subwords, the text of the last one has it and that of the others is empty.
        """
        stream = import_module("tokenizers").decoders.DecodeStream(skip_special_tokens=False)
        return [stream.step(self.tokenizer, number) or "" for number in numbers]


def read_tokenizer(where: str | Path) -> str:
    """Reads the JSON text of a tokenizer, for `TextDomain(tokenizer=...)`.

    Args:
        where: a folder with tokenizer.json, as `save_pretrained` writes it; such a file; the name of a text encoder of
            `zoo.utils.weight_packages`; or that of a model on the Hugging Face hub.

    Raises:
        FileNotFoundError: neither a folder with a tokenizer nor a model of the hub that can be reached.
        ValueError: the file does not hold a tokenizer.
    """
    library = import_module("tokenizers")
    path = Path(text_model(str(where)))
    file = path / FILE if path.is_dir() else path
    if file.is_file():
        text = file.read_text(encoding="utf-8")
        Subwords(text)  # raises ValueError if it is not a tokenizer
        return library.Tokenizer.from_str(text).to_str()  # on one line
    advice = remedy(str(where), f"Give a folder with {FILE}.")
    require_model(str(path), [FILE, "tokenizer_config.json"], f"tokenizer '{where}'", advice)
    try:  # from the hub, or a folder of an older format that this library converts
        found = import_module("transformers").AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"no tokenizer '{where}': give a folder with {FILE}, or the name of a model on the Hugging Face hub that "
            f"can be reached ({str(error).splitlines()[0]})."
        ) from error
    return found.backend_tokenizer.to_str()
