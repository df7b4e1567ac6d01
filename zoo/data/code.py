"""Python source as a corpus: windows of tokens, and the token after each."""

import random
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.idioms import documents
from zoo.data.module import DataModule, EpochSampler, Items, expand
from zoo.data.tokenized import as_tokens, cache_folder, fingerprint, read_cached, train_tokenizer, write_cached
from zoo.domain.code import CodeDomain

LEFT_OUT = ("site-packages", "test", "tests", "idle_test", "lib2to3")  # folders of the standard library
TOPICS = "topics.py"  # documentation in one long string
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
        idioms: share of the training windows that are generated (`zoo.data.idioms`), in [0, 1]; at 1 no file is read.
        idiom_tokens: how many tokens of idioms are generated if no file is read; else as many as their share needs.
        windows: training windows of an epoch, drawn anew for each; by default all, one after the other.
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
    def _files(self) -> dict[str, list[str]]:
        """The texts of all files by split."""
        if self.idioms == 1:
            return {"train": [], "val": [], "test": []}
        texts = read_files(self.root)
        held = max(1, round(len(texts) * self.val_fraction))
        if len(texts) < 3:
            raise ValueError(f"the corpus has {len(texts)} files; at least 3 are needed, to hold out two.")
        random.Random(self.seed).shuffle(texts)
        return {"val": texts[:held], "test": texts[held : 2 * held], "train": texts[2 * held :]}

    @cached_property
    def _arrays(self) -> tuple[dict[str, Tensor], str]:
        """Token arrays by split, and the tokenizer: from the cache, if they were made before."""
        settings = {
            "format": 1,
            "vocabulary": self.vocabulary,
            "idioms": self.idioms,
            "idiom_tokens": self.idiom_tokens,
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "sample": next(documents(self.seed, DOCUMENT)),  # of another version's idioms
        }
        every = [text for split in ("train", "val", "test") for text in self._files[split]]
        path = cache_folder(self.cache) / fingerprint(settings, every)
        if (found := read_cached(path)) is not None:
            return found
        made = self._make()
        write_cached(path, *made)
        return made

    def _make(self) -> tuple[dict[str, Tensor], str]:
        files = self._files
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
        return self._domain

    @cached_property
    def _domain(self) -> CodeDomain:
        return CodeDomain(tokenizer=self._arrays[1], length=self.length)

    def items(self, split: str, training: bool) -> Windows:
        arrays = self._arrays[0]
        files, idioms = arrays[split], arrays[f"{split} idioms"]
        tokens = torch.cat([files, idioms])
        # No window reaches from the files into the idioms.
        starts = [torch.arange(0, max(len(part) - self.length, 0), self.length) for part in (files, idioms)]
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

    def reference_dataset(self) -> Dataset:
        """At most 2,000 training windows, evenly spread: enough for the means of nodes."""
        whole = self.items("train", False)
        if len(whole) <= 2000:
            return whole
        return Windows(whole.tokens, self.length, whole.starts[torch.linspace(0, len(whole) - 1, 2000).long()])


def read_files(root: str | None) -> list[str]:
    """The texts of all .py files of a folder, without the comments at their heads; in the order of their paths.

    Args:
        root: the folder; None for the standard library, without its tests and documentation.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no file with text in it that can be decoded.
    """
    folder = Path(sysconfig.get_paths()["stdlib"]) if root is None else expand(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}; root names a folder of .py files.")
    paths = sorted(p for p in folder.rglob("*.py") if p.is_file())
    if root is None:
        paths = [p for p in paths if p.name != TOPICS and not {*p.relative_to(folder).parts} & {*LEFT_OUT}]
    texts, bad = [], []
    for path in paths:
        try:
            text = without_head(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, OSError) as error:
            bad.append(f"{path} ({type(error).__name__})")
            continue
        if text.strip():
            texts.append(text)
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(paths)} files could not be read and are left out, such as {bad[0]}.", stacklevel=2
        )
    if not texts:
        raise ValueError(
            f"the corpus is empty: {folder} has {len(paths)} .py files, of which {len(bad)} cannot be read and "
            f"{len(paths) - len(bad)} hold no code."
        )
    return texts


def without_head(text: str) -> str:
    """A file without the comments and empty lines at its head, such as a licence."""
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return "".join(lines[first:])


def idiom_tokens(seed: str, tokenizer: str, count: int) -> Tensor:
    """(count,) int32 tokens of generated idioms."""
    parts, have, source = [], 0, documents(seed, DOCUMENT)
    while have < count:
        parts.append(as_tokens(islice(source, 500), tokenizer))
        have += len(parts[-1])
    return torch.cat(parts)[:count] if parts else torch.zeros(0, dtype=torch.int32)
