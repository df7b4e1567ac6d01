"""Feature vectors in memory or in a file, read a block at a time, so that memory does not grow with their number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.utils.paths import check_file

BLOCK = 2048  # vectors that are read at once
POOL = 2**26  # bytes of the vectors that are shuffled together


class RowFile:
    """Vectors (N, d) of a file of NumPy (.npy), of float16 or float32, row by row; or of a tensor.

    A block is read into memory of its own. (Pages of a memory-mapped file that was read count as memory of the process
    until the system needs them elsewhere.)

    Args:
        source: the file, or a tensor.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is cut off.
    """

    def __init__(self, source: str | Path | Tensor) -> None:
        self.tensor = source if isinstance(source, Tensor) else None
        if isinstance(source, Tensor):
            self.shape, what = tuple(source.shape), "the tensor"
            good = source.is_floating_point()
        else:
            self.path, what = Path(source), str(source)
            check_file(self.path, "file of feature vectors")
            good = self._read_header()
        if len(self.shape) != 2 or 0 in self.shape or not good:
            raise ValueError(f"{what} must hold vectors (N, d) of float16 or float32, row by row; got {self.shape}.")

    def _read_header(self) -> bool:
        with self.path.open("rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                self.shape, by_column, self.type = read(file)
            except ValueError as error:
                raise ValueError(f"{self.path} is not a file of NumPy ({error}); write it by numpy.save.") from error
            self.start = file.tell()
        missing = self.start + int(np.prod(self.shape)) * self.type.itemsize - self.path.stat().st_size
        if missing > 0:
            raise ValueError(f"{self.path} is cut off: {missing:,} bytes are missing; write it again.")
        return self.type in (np.float16, np.float32) and not (by_column and len(self.shape) > 1)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def channels(self) -> int:
        """D."""
        return self.shape[1]

    def block(self, number: int) -> Tensor:
        """Vectors (n, d), fp32, from `number` · BLOCK on."""
        first = number * BLOCK
        count = min(BLOCK, len(self) - first)
        if self.tensor is not None:
            return self.tensor[first : first + count].float()
        offset = self.start + first * self.channels * self.type.itemsize
        found = np.fromfile(self.path, self.type, count * self.channels, offset=offset)
        return torch.from_numpy(found.astype(np.float32, copy=False)).view(count, self.channels)

    def blocks(self) -> Iterator[Tensor]:
        """All blocks in order."""
        return map(self.block, range(-(-len(self) // BLOCK)))

    def shuffled(self, size: int, draw: torch.Generator) -> Iterator[Tensor]:
        """Endless batches (size, d): blocks are drawn without replacement and shuffled together, up to 64 MiB."""
        count = -(-len(self) // BLOCK)
        together = min(max(POOL // (4 * self.channels * BLOCK), 1), count)
        pool, kept = torch.empty(together * BLOCK + size, self.channels), 0
        while True:
            for numbers in torch.randperm(count, generator=draw).split(together):
                end = kept
                for block in map(self.block, numbers.tolist()):
                    pool[end : end + len(block)] = block
                    end += len(block)
                new = kept + torch.randperm(end - kept, generator=draw)
                *full, last = torch.cat([torch.arange(kept), new]).split(size)
                for rows in full:
                    yield pool[rows]
                kept = len(last)
                pool[:kept] = pool[last]  # begins the next batch
