"""Exact selection of the largest magnitudes, by integer comparison of the bits of floating-point numbers.

Without the sign bit, the bits of floating-point numbers order like their magnitudes. On the CPU the threshold is found
by `numpy.partition`, which is vectorised for integers. Ties are always broken by the lowest index.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
Part = TypeVar("Part")


def in_threads(work: Callable[[Part], object], parts: Sequence[Part], most: int | None = None) -> None:
    """Calls `work` on each part, in up to `most` threads; by default as many as torch uses.

    Numpy releases the interpreter lock while it computes, so the threads run in parallel.
    """
    if min(most or torch.get_num_threads(), len(parts)) < 2:
        for part in parts:
            work(part)
        return
    for done in [_threads(os.getpid()).submit(work, part) for part in parts]:
        done.result()


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The thread pool of a process; it is cached by process number because threads do not survive a fork."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="zoo-selection")


def bit_view(x: Tensor) -> Tensor:
    """Views floating-point numbers as integers of the same size, without a copy."""
    return x.detach().view(INTEGERS[x.element_size()])


def magnitudes(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Clears the sign bits, which gives integers in the order of the magnitudes, of at least 32 bits."""
    wide = np.int64 if bits.dtype == np.int64 else np.int32  # partition is not vectorised everywhere for 16 bits
    sign = np.iinfo(bits.dtype).max
    return np.bitwise_and(bits, sign, out=np.empty(bits.shape, wide) if out is None else out)


def largest_of_rows(sizes: np.ndarray, k: int) -> np.ndarray:
    """Marks the k largest entries of each row: (R, n) bool for `sizes` (R, n), which is overwritten; 1 <= k <= n."""
    n = sizes.shape[1]
    zero = sizes == 0
    if zero.any():  # ties of zeros are common and slow to partition; numbering them resolves the ties
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
    """Marks the `keep` largest entries: (N,) bool for `sizes` (N,) with more than `keep` non-zeros.

    `scratch` (N,) is overwritten.
    """
    nonzero = np.count_nonzero(sizes)
    if 2 * nonzero < len(sizes):
        candidates = sizes[sizes != 0]  # many equal values are slow to partition
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
    """Marks the `keep` largest entries of each row of `sizes` (n, N) by bisection over the bits.

    There is no synchronisation with the device, and the sequence of operations does not depend on the data.
    """
    threshold = torch.zeros(len(sizes), 1, dtype=sizes.dtype, device=sizes.device)
    for bit in range(torch.iinfo(sizes.dtype).bits - 2, -1, -1):
        higher = threshold | (1 << bit)
        enough = (sizes >= higher).sum(1, keepdim=True) >= keep
        threshold = torch.where(enough, higher, threshold)
    above, tied = sizes > threshold, sizes == threshold
    free = keep - above.sum(1, keepdim=True)
    return above | (tied & (tied.cumsum(1, dtype=torch.int32) <= free))
