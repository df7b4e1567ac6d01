"""Texts as one array of tokens: a tokenizer for source code, and a cache on disk."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.domain.code import END, SPECIAL
from zoo.utils.paths import expand

# Words with one preceding sign; numbers of up to three digits; signs with following line breaks; line breaks; blanks,
# the last of which belongs to the next piece.
PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> str:
    """The JSON text of a byte-level BPE tokenizer whose tokens 0 and 1 are "<|pad|>" and "<|end|>".

    Args:
        texts: to train on.
        vocabulary: number of tokens, including these two and the 256 bytes.

    Raises:
        ValueError: the vocabulary is smaller than the bytes and the special tokens.
    """
    if vocabulary < 256 + len(SPECIAL):
        raise ValueError(f"vocabulary must hold the 256 bytes and {len(SPECIAL)} more; got {vocabulary}.")
    library = import_module("tokenizers")
    made = library.Tokenizer(library.models.BPE())
    split = library.pre_tokenizers.Split(library.Regex(PIECES), "isolated")
    made.pre_tokenizer = library.pre_tokenizers.Sequence(
        [split, library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = library.decoders.ByteLevel()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made.to_str()


def as_tokens(texts: Iterable[str], tokenizer: str, together: int = 1000) -> Tensor:
    """(N,) int32: the concatenated tokens of all texts, each followed by "<|end|>"."""
    made = import_module("tokenizers").Tokenizer.from_str(tokenizer)
    made.encode_special_tokens = True  # "<|end|>" in a text is ordinary text
    parts = []
    rest = iter(texts)
    while some := list(islice(rest, together)):
        ids = (e.ids for e in made.encode_batch_fast(some, add_special_tokens=False))
        parts.append(torch.tensor(list(chain.from_iterable((*i, END) for i in ids)), dtype=torch.int32))
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int32)


def cache_folder(given: str | None) -> Path:
    """Folder for token arrays: `given`, or this package's folder in the user's cache."""
    if given is not None:
        return expand(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "self-interpretable-zoo"


def fingerprint(settings: dict[str, Any], texts: Sequence[str]) -> str:
    """A hash of the settings and texts that determine the tokens."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text.encode())
    return digest.hexdigest()[:32]


def read_cached(path: Path) -> tuple[dict[str, Tensor], str] | None:
    """Token arrays and the tokenizer, as written by `write_cached`; None if the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["tokenizer"]  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def write_cached(path: Path, arrays: dict[str, Tensor], tokenizer: str) -> None:
    """Writes token arrays and their tokenizer to one file, atomically.

    If the file cannot be written, there is a warning, and the tokens will be computed again next time.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            save_file(arrays, fresh, metadata={"tokenizer": tokenizer})
            os.replace(fresh, path)
    except (OSError, SafetensorError) as error:  # the latter on a full disk
        warnings.warn(f"the tokens are not cached in {path.parent}: {error}", stacklevel=2)
