"""Python source as a corpus: windows of tokens, and the token after each."""

import random
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.module import DataModule, EpochSampler, Items
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
from zoo.data.synthetic.idioms import documents
from zoo.domain.code import CodeDomain

DOCUMENT = 60  # idioms of a document, roughly a hundred lines


class Windows(Items):
    """Windows of T tokens of one long array, and the token after each.

    Args:
        tokens: (N,) int32.
        length: T.
        starts: (W,) of the windows; by default one after the other.
        title: what the array is called.
    """

    def __init__(self, tokens: Tensor, length: int, starts: Tensor | None = None, title: str = "tokens") -> None:
        self.tokens, self.length, self.title = tokens, length, title
        self.starts = torch.arange(0, len(tokens) - length, length) if starts is None else starts

    @property
    def targets(self) -> Tensor:
        return self.tokens[self.starts + self.length].long()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        start = int(self.starts[i])
        window = self.tokens[start : start + self.length + 1].long()
        return {"input": window[:-1], "target": window[-1]}

    def name(self, i: int) -> str:
        return f"{self.title} from {int(self.starts[i])}"


class SomeWindows(EpochSampler):
    """A random choice of windows in every epoch, which follows from (seed, epoch) alone.

    Args:
        count: windows an epoch.
        dataset, generator, seed: see `EpochSampler`.
    """

    def __init__(self, count: int, dataset: Dataset, generator: torch.Generator, seed: int) -> None:
        super().__init__(dataset, generator, seed)
        self.count = count - count % self.num_replicas
        self.num_samples = self.count // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        size = len(self.dataset)  # pyright: ignore[reportArgumentType]
        chosen = torch.cat([torch.randperm(size, generator=draw) for _ in range(-(-self.count // size))])
        return iter(chosen[self.rank : self.count : self.num_replicas].tolist())


class CodeData(DataModule):
    """Python source, by default the standard library of the running interpreter, and generated idioms.

    Whole files are held out for validation and test. Comments at the head of a file, such as licences, are left out.

    Args:
        root: folder of .py files, at any depth; by default the standard library without its tests.
        vocabulary: tokens of the byte-level BPE that is trained on the training files.
        length: T, tokens of a window.
        idioms: share of the training windows that are generated (`zoo.data.synthetic.idioms`), in [0, 1]; at 1 no file is read.
        idiom_tokens: how many tokens of idioms are generated if no file is read; else as many as their share needs.
        windows: training windows of an epoch, drawn anew for each from wherever one may begin; by default all that
            follow one another without a gap, in random order.
        held_out_windows: of validation and of test, at most.
        cache: folder for token arrays; by default where the user's caches lie.
        batch_size, workers, seed, val_fraction: see `DataModule`; the fraction is of files, for each of both splits.

    Raises:
        ValueError: a number out of range.
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
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.05,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        if not 0 <= idioms <= 1:
            raise ValueError(f"idioms must be a share in [0, 1]; got {idioms}.")
        counts = {"length": length, "idiom_tokens": idiom_tokens, "held_out_windows": held_out_windows}
        for name, number in counts.items() | {("windows", 1 if windows is None else windows)}:
            if number < 1:
                raise ValueError(f"{name} must be at least 1; got {number}.")
        if idioms == 1 and root is not None:
            raise ValueError(f"idioms=1 reads no file, but root names {root}; lower idioms, or leave out root.")
        self.root, self.vocabulary, self.length, self.idioms = root, vocabulary, length, idioms
        self.idiom_tokens, self.windows, self.held_out_windows = idiom_tokens, windows, held_out_windows
        self.cache = cache

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        """The texts of the files by split."""
        if self.idioms == 1:
            return {"train": [], "val": [], "test": []}
        texts = read_files(self.root)
        if len(texts) < 3:
            raise ValueError(
                f"the corpus has {len(texts)} files with code; at least 3 are needed, to hold out "
                "one for validation and one for the test."
            )
        held = min(max(1, round(len(texts) * self.val_fraction)), (len(texts) - 1) // 2)
        random.Random(self.seed).shuffle(texts)
        return {"val": texts[:held], "test": texts[held : 2 * held], "train": texts[2 * held :]}

    @cached_property
    def _arrays(self) -> tuple[dict[str, Tensor], str]:
        """Token arrays by split, and the tokenizer: from the cache, if they were made before."""
        settings = {
            "format": 2,
            "pieces": PIECES,
            "vocabulary": self.vocabulary,
            "idioms": self.idioms,
            "idiom_tokens": self.idiom_tokens,
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "sample": list(islice(documents("sample", DOCUMENT), 20)),  # of another version's idioms
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
        """Windows of one split; those to train on begin anywhere, if an epoch has so many of them (`windows`)."""
        arrays = self._arrays[0]
        files, idioms = arrays[split], arrays[f"{split} idioms"]
        tokens = torch.cat([files, idioms])
        step = self.length if self.windows is None or not training else 1
        # No window reaches from the files into the idioms.
        starts = [torch.arange(0, max(len(part) - self.length, 0), step) for part in (files, idioms)]
        starts = torch.cat([starts[0], starts[1] + len(files)])
        if not len(starts):
            raise ValueError(
                f"the {split} split has {len(tokens)} tokens, fewer than one window of {self.length} and the token "
                "after it; give more files, or a smaller length."
            )
        if split != "train" and len(starts) > self.held_out_windows:
            starts = starts[torch.linspace(0, len(starts) - 1, self.held_out_windows).long()]
        return Windows(tokens, self.length, starts, f"{split} tokens")

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        if self.windows is None:
            return super().make_sampler(dataset, generator)
        return SomeWindows(self.windows, dataset, generator, self.seed)

    def projection_dataset(self) -> Dataset:
        """At most 2,000 training windows, evenly spread: enough for the means of nodes."""
        whole = self.items("train", False)
        if len(whole) <= 2000:
            return whole
        return Windows(whole.tokens, self.length, whole.starts[torch.linspace(0, len(whole) - 1, 2000).long()])


def idiom_tokens(seed: str, tokenizer: str, count: int) -> Tensor:
    """(count,) int32 tokens of generated idioms."""
    parts, have, source = [], 0, documents(seed, DOCUMENT)
    while have < count:
        parts.append(as_tokens(islice(source, 500), tokenizer))
        have += len(parts[-1])
    return torch.cat(parts)[:count] if parts else torch.zeros(0, dtype=torch.int32)
