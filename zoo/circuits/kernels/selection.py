"""The largest magnitudes, exactly: by the bits of the numbers, which order them as integers do.

On the CPU the threshold comes from `numpy.partition`, which is vectorised on integers. Equal magnitudes go to the
lowest index everywhere.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


Part = TypeVar("Part")


def in_threads(work: Callable[[Part], object], parts: Sequence[Part], most: int | None = None) -> None:
    """Does all parts of a work, in as many threads as torch uses; numpy lets go of the interpreter meanwhile."""
    if min(most or torch.get_num_threads(), len(parts)) < 2:
        for part in parts:
            work(part)
        return
    for done in [_threads(os.getpid()).submit(work, part) for part in parts]:
        done.result()


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Of one process, because threads do not survive a fork."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="zoo-selection")


def words(x: Tensor) -> Tensor:
    """The bits of floating-point numbers, as integers of their size, in the same memory."""
    return x.detach().view(WORDS[x.element_size()])


def magnitudes(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Integers of the order of the magnitudes, from the bits of the numbers; at least 32 bits wide."""
    wide = np.int64 if bits.dtype == np.int64 else np.int32  # partition is not vectorised everywhere for 16 bits
    sign = np.iinfo(bits.dtype).max
    return np.bitwise_and(bits, sign, out=np.empty(bits.shape, wide) if out is None else out)


def largest_of_rows(sizes: np.ndarray, k: int) -> np.ndarray:
    """Which k of each row (R, n) are the largest, as (R, n) bool; k from 1 to n. Writes into `sizes`."""
    n = sizes.shape[1]
    zero = sizes == 0
    if zero.any():  # the common tie, and slow to partition; told apart by index it is none
        sizes -= zero * np.arange(1, n + 1, dtype=sizes.dtype)
    threshold = np.partition(sizes, n - k, axis=1)[:, n - k : n - k + 1]
    kept = sizes >= threshold
    if np.count_nonzero(kept) > k * len(sizes):
        tied_rows = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)
        sizes, threshold = sizes[tied_rows], threshold[tied_rows]
        above, tied = sizes > threshold, sizes == threshold
        free = k - np.count_nonzero(above, axis=1, keepdims=True)
        kept[tied_rows] = above | (tied & (tied.cumsum(1, dtype=np.int32) <= free))
    return kept


def largest_of_all(sizes: np.ndarray, keep: int, scratch: np.ndarray) -> np.ndarray:
    """Which `keep` of (N,) are the largest, as (N,) bool; more than `keep` are not 0. Writes into `scratch` (N,)."""
    nonzero = np.count_nonzero(sizes)
    if 2 * nonzero < len(sizes):
        candidates = sizes[sizes != 0]  # many equal numbers are slow to partition
    else:
        candidates = scratch
        candidates[...] = sizes
    candidates.partition(len(candidates) - keep)
    threshold = candidates[len(candidates) - keep]
    kept = sizes >= threshold
    if surplus := np.count_nonzero(kept) - keep:
        kept[np.flatnonzero(sizes == threshold)[-surplus:]] = False
    return kept


def largest_of_each(sizes: Tensor, keep: int) -> Tensor:
    """Which `keep` of each of the rows (n, N) are the largest, as bool, by bisection over the bits.

    Nothing waits for the device, and nothing but the counts depends on the data.
    """
    threshold = torch.zeros(len(sizes), 1, dtype=sizes.dtype, device=sizes.device)
    for bit in range(torch.iinfo(sizes.dtype).bits - 2, -1, -1):
        higher = threshold | (1 << bit)
        enough = (sizes >= higher).sum(1, keepdim=True) >= keep
        threshold = torch.where(enough, higher, threshold)
    above, tied = sizes > threshold, sizes == threshold
    free = keep - above.sum(1, keepdim=True)
    return above | (tied & (tied.cumsum(1, dtype=torch.int32) <= free))
