"""Python source as a corpus of tokens for next-token prediction."""

import random
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.module import DataModule
from zoo.data.base.sampling import EpochSampler
from zoo.data.base.sources import read_files
from zoo.data.base.tokenized import (
    PIECES,
    as_tokens,
    cache_folder,
    fingerprint,
    read_cached,
    train_tokenizer,
    write_cached,
)
from zoo.data.real.code_windows import Windows, WindowSampler
from zoo.data.synthetic.idioms import documents
from zoo.domain.code import CodeDomain
from zoo.utils.checks import check_at_least

DOCUMENT = 60  # idioms per document, about a hundred lines


class CodeData(DataModule):
    """Python source files, by default the standard library of the running interpreter, and generated idioms.

    Files are held out as a whole for validation and test. Header comments of files, such as licences, are removed.

    Args:
        root: folder of .py files, searched recursively; by default the standard library without its tests.
        vocabulary: number of tokens of the byte-level BPE, which is trained on the training files.
        length: T, tokens of a window.
        idioms: share of generated training windows (`zoo.data.synthetic.idioms`), in [0, 1]; at 1 no file is read.
        idiom_tokens: number of generated tokens if no file is read; otherwise it follows from `idioms`.
        windows: number of training windows per epoch, drawn anew in each epoch from all possible positions; by default
            all consecutive windows in random order.
        held_out_windows: largest number of validation windows, and of test windows.
        cache: folder for token arrays; by default in the user's cache.
        val_fraction: share of the files held out for validation, and again for the test.
        **loading: the other options of `DataModule`; `sampling` must be "uniform" if `windows` is given.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        root: str | None = None,
        vocabulary: int = 2048,
        length: int = 256,
        idioms: float = 0.2,
        idiom_tokens: int = 2_000_000,
        windows: int | None = None,
        held_out_windows: int = 400,
        cache: str | None = None,
        val_fraction: float = 0.05,
        **loading: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, **loading)
        if not 0 <= idioms <= 1:
            raise ValueError(f"idioms must be a share in [0, 1]; got {idioms}.")
        check_at_least(1, length=length, idiom_tokens=idiom_tokens, held_out_windows=held_out_windows)
        if windows is not None:
            check_at_least(1, windows=windows)
            if self.sampling != "uniform":
                raise ValueError("`windows` draws positions uniformly; leave out windows, or use sampling: uniform.")
        if idioms == 1 and root is not None:
            raise ValueError(f"idioms=1 reads no file, but root is {root}; lower idioms, or leave out root.")
        self.root, self.vocabulary, self.length, self.idioms = root, vocabulary, length, idioms
        self.idiom_tokens, self.windows, self.held_out_windows = idiom_tokens, windows, held_out_windows
        self.cache = cache

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        """Texts of the files by split."""
        if self.idioms == 1:
            return {"train": [], "val": [], "test": []}
        texts = read_files(self.root)
        if len(texts) < 3:
            raise ValueError(
                f"the corpus has {len(texts)} files with code; at least 3 are needed: one each for training, "
                "validation and test."
            )
        held = min(max(1, round(len(texts) * self.val_fraction)), (len(texts) - 1) // 2)
        random.Random(self.seed).shuffle(texts)
        return {"val": texts[:held], "test": texts[held : 2 * held], "train": texts[2 * held :]}

    @cached_property
    def _arrays(self) -> tuple[dict[str, Tensor], str]:
        """Token arrays by split, and the tokenizer; cached on disk."""
        settings = {
            "format": 2,
            "pieces": PIECES,
            "vocabulary": self.vocabulary,
            "idioms": self.idioms,
            "idiom_tokens": self.idiom_tokens,
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "sample": list(islice(documents("sample", DOCUMENT), 20)),  # changes with the version of the idioms
        }
        every = [text for split in ("train", "val", "test") for text in self._texts[split]]
        path = cache_folder(self.cache) / f"{fingerprint(settings, every)}.safetensors"
        if (found := read_cached(path)) is not None:
            return found
        made = self._make()
        write_cached(path, *made)
        return made

    def _make(self) -> tuple[dict[str, Tensor], str]:
        files = self._texts
        sample = islice(documents(f"{self.seed} train", DOCUMENT), 2000 if self.idioms else 0)
        tokenizer = train_tokenizer([*files["train"], *sample], self.vocabulary)
        arrays = {split: as_tokens(texts, tokenizer) for split, texts in files.items()}
        for split, tokens in list(arrays.items()):
            wanted = self.idiom_tokens // (1 if split == "train" else 20)
            if self.idioms < 1:
                wanted = round(len(tokens) * self.idioms / (1 - self.idioms))
            arrays[f"{split} idioms"] = idiom_tokens(f"{self.seed} {split}", tokenizer, wanted)
        return arrays, tokenizer

    def make_domain(self) -> CodeDomain:
        return CodeDomain(tokenizer=self._arrays[1], length=self.length)

    def items(self, split: str, training: bool) -> Windows:
        """Windows of one split; training windows start at any token if `windows` is given."""
        arrays = self._arrays[0]
        files, idioms = arrays[split], arrays[f"{split} idioms"]
        tokens = torch.cat([files, idioms])
        step = self.length if self.windows is None or not training else 1
        # No window spans the end of the files and the idioms.
        starts = [torch.arange(0, max(len(part) - self.length, 0), step) for part in (files, idioms)]
        starts = torch.cat([starts[0], starts[1] + len(files)])
        if not len(starts):
            raise ValueError(
                f"the {split} split has {len(tokens)} tokens, fewer than one window of {self.length} and the token "
                "after it; use more files, or a smaller length."
            )
        if split != "train" and len(starts) > self.held_out_windows:
            starts = starts[torch.linspace(0, len(starts) - 1, self.held_out_windows).long()]
        return Windows(tokens, self.length, starts, f"{split} tokens")

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        if self.windows is None:
            return super().make_sampler(dataset, generator)
        return WindowSampler(self.windows, dataset, generator, self.seed)

    def projection_dataset(self) -> Windows:
        """At most 2,000 training windows, evenly spaced: enough for the means of nodes."""
        found = self.items("train", False)
        if len(found) <= 2000:
            return found
        return Windows(found.tokens, self.length, found.starts[torch.linspace(0, len(found) - 1, 2000).long()])


def idiom_tokens(seed: str, tokenizer: str, count: int) -> Tensor:
    """(count,) int32 tokens of generated idioms."""
    parts, have, source = [], 0, documents(seed, DOCUMENT)
    while have < count:
        parts.append(as_tokens(islice(source, 500), tokenizer))
        have += len(parts[-1])
    return torch.cat(parts)[:count] if parts else torch.zeros(0, dtype=torch.int32)
