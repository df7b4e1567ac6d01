"""Shards: items in a few large files, locally or in object storage, read and written by the library litdata.

litdata is kept by the authors of Lightning, reads any item by its number, so that nothing is seen twice or left out
whatever the number of processes, and caches remote shards on the local disk. Its shards may hold pickled objects, which
can run code when they are read: those are refused before anything is read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.sampling import EpochSampler
from zoo.utils.optional import need
from zoo.utils.paths import check_file

EXTRA = "stream"  # of this package, which installs litdata
INDEX = "index.json"
PLAIN = {"bytes", "int", "str"}  # formats of values that are read without running anything


def write_stream(items: Iterable[Mapping[str, bytes | int | str]], folder: Path, shard_size: str) -> int:
    """Writes items to shards; returns their number.

    Args:
        items: of plain values, all with the same names.
        folder: without shards.
        shard_size: such as "64MB".

    Raises:
        FileExistsError: there are shards already.
    """
    if (folder / INDEX).exists():
        raise FileExistsError(f"{folder} holds shards already; choose another folder.")
    writer = need("litdata.streaming.writer", EXTRA).BinaryWriter(str(folder), chunk_bytes=shard_size)
    count = 0
    for item in items:
        writer[count] = dict(item)
        count += 1
    writer.done()
    writer.merge(1)
    return count


class Stream:
    """Items of shards, by number.

    Args:
        folder: with the index of the shards.
        remote: folder or address of the shards if they are not in `folder`, such as "s3://bucket/images/train".
        cache: folder for remote shards; None for that of litdata.
        cache_size: of remote shards on the disk, such as "100GB"; None for three quarters of what is free.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: the index is damaged, or the shards hold pickled objects.
        ImportError: litdata is not installed.
    """

    def __init__(self, folder: Path, remote: str | None, cache: Path | None, cache_size: str | None) -> None:
        need("litdata", EXTRA)
        check_file(folder / INDEX, "index of shards")
        text = (folder / INDEX).read_bytes()
        self.digest = hashlib.sha256(text).hexdigest()  # names and sizes of the shards
        try:
            index = json.loads(text)
            formats = set(index["config"]["data_format"])
            self.sizes = tuple(int(chunk["chunk_size"]) for chunk in index["chunks"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / INDEX} is not the index of shards ({error}); write them again.") from None
        if not formats <= PLAIN:
            raise ValueError(
                f"{folder} holds {', '.join(sorted(formats - PLAIN))}, and only {', '.join(sorted(PLAIN))} are read, "
                "because others can run code; write the shards by `zoo.data.ImageShards.write`."
            )
        self.folder, self.remote, self.cache, self.cache_size = folder, remote, cache, cache_size
        self._opened: tuple[int, Any] = (0, None)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if self._opened[0] != os.getpid():  # a worker that was forked shares no open file with its parent
            self._opened = (os.getpid(), self._open())
        return self._opened[1][i]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (0, None)}

    def _open(self) -> Any:
        dataset = need("litdata", EXTRA).StreamingDataset
        if self.remote is None:
            return dataset(str(self.folder))
        cache = None if self.cache is None else str(self.cache)
        opened = dataset(self.remote, cache_dir=cache, max_cache_size=self.cache_size)
        fetched = Path(opened.input_dir.path) / INDEX  # by which litdata reads; the one here was checked
        if not fetched.is_file() or hashlib.sha256(fetched.read_bytes()).hexdigest() != self.digest:
            raise ValueError(f"the shards at {self.remote} are not those of {self.folder / INDEX}; copy both again.")
        return opened


class Column(Sequence):
    """One value of each item, read when it is asked for.

    Args:
        stream: of items.
        name: of the value.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self.stream, self.name = stream, name

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, i: Any) -> Any:
        value = self.stream[int(i)][self.name]
        return value if isinstance(value, str) else bytes(value)


class ShardSampler(EpochSampler):
    """A shuffle that reads a few shards at a time: their order is drawn, then that of the items of `window` of them.

    Each process reads its own stretch of the order, so that it needs its share of the shards; the order depends on
    (seed, epoch) alone.

    Args:
        dataset, generator, seed: see `EpochSampler`.
        shards: (N,) number of the shard of each item.
        window: shards whose items are mixed.
    """

    def __init__(self, dataset: Dataset, generator: torch.Generator, seed: int, shards: Tensor, window: int) -> None:
        super().__init__(dataset, generator, seed)
        self.shards, self.window = shards, window

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed + self.epoch)
        group = torch.randperm(int(self.shards.max()) + 1, generator=draw).div(self.window, rounding_mode="floor")
        mixed = torch.randperm(len(self.shards), generator=draw)
        order = mixed[group[self.shards[mixed]].argsort(stable=True)]
        order = torch.cat([order, order[: self.total_size - len(order)]])[: self.total_size]
        return iter(order[self.rank * self.num_samples : (self.rank + 1) * self.num_samples].tolist())
