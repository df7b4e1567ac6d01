"""Exact selection of the largest magnitudes, by integer comparison of the bits of floating-point numbers.

Without the sign bit, the bits of floating-point numbers order like their magnitudes. On the CPU the threshold is found
by `numpy.partition`, which is vectorised for integers. Ties are always broken by the lowest index.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import local
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
Part = TypeVar("Part")


def in_threads(work: Callable[[Part], object], parts: Sequence[Part], most: int | None = None) -> None:
    """Calls `work` on each part, in this thread and others, `most` together; by default as many as torch uses.

    Numpy releases the interpreter lock while it computes, so the threads run in parallel. Each thread takes the next
    part when it is ready; one that starts late, because other processes keep the cores busy, delays nothing.
    """
    left = iter(parts)

    def run() -> None:
        for part in left:  # an iterator over a list or range hands out each part once, whichever thread asks
            work(part)

    threads = min(most or torch.get_num_threads(), len(parts))
    helpers = [_threads(os.getpid()).submit(run) for _ in range(threads - 1)]
    try:
        run()
    finally:
        for helper in helpers:
            if not helper.cancel():  # it has started, so it may be at work on a part
                helper.result()


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The thread pool of a process; it is cached by process number because threads do not survive a fork."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="zoo-selection")


class Scratch(local):
    """Work arrays of each thread, reused because the allocation of large arrays would dominate the time."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[int, type], np.ndarray] = {}

    def __call__(self, number: int, kind: type, shape: tuple[int, ...]) -> np.ndarray:
        """Array number `number` of a kind of numbers, with arbitrary contents."""
        size, found = math.prod(shape), self.arrays.get((number, kind))
        if found is None or found.size < size:
            found = self.arrays[number, kind] = np.empty(size, kind)
        return found[:size].reshape(shape)


def bit_view(x: Tensor) -> Tensor:
    """Views floating-point numbers as integers of the same size, without a copy."""
    return x.detach().view(INTEGERS[x.element_size()])


def integers(bits: np.ndarray) -> type:
    """Type of the magnitudes of such bits, at least 32 bits: partition is not vectorised everywhere for 16 bits."""
    return np.int64 if bits.dtype == np.int64 else np.int32


def magnitudes(bits: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Clears the sign bits, which gives integers in the order of the magnitudes, of the type `integers(bits)`."""
    np.bitwise_and(bits, np.iinfo(bits.dtype).max, out=out)
    if bits.dtype == np.int16:
        out <<= 16  # so that, as for other types, only denormal numbers are smaller than the length of a row
    return out


def largest_of_rows(sizes: np.ndarray, k: int, kept: np.ndarray, scratch: np.ndarray) -> None:
    """Marks the k largest entries of each row of `sizes` (R, n) in `kept` (R, n), bool; 1 <= k <= n.

    Zeros are common, so that they are numbered by index in the search, which resolves their ties. `scratch`, of the
    shape and type of `sizes`, is overwritten.
    """
    n = sizes.shape[1]
    numbers = _numbers(n, sizes.dtype)
    np.maximum(sizes, numbers, out=scratch).partition(n - k, axis=1)
    threshold = scratch[:, n - k : n - k + 1]
    np.greater_equal(sizes, threshold, out=kept)
    low = threshold[:, 0] <= n
    if low.any():  # rows of which zeros are kept
        rows = slice(None) if low.all() else np.flatnonzero(low)
        own = sizes[rows]
        if ((own - 1).view(f"u{own.itemsize}") < n).any():  # denormal numbers that were mistaken for numbers of zeros
            kept[rows] = _first_of_tied(own, np.partition(own, n - k, axis=1)[:, n - k : n - k + 1], k)
        else:
            kept[rows] = np.maximum(own, numbers) >= threshold[rows]
    if np.count_nonzero(kept) > k * len(sizes):
        rows = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)
        kept[rows] = _first_of_tied(sizes[rows], threshold[rows], k)


@cache
def _numbers(n: int, kind: np.dtype) -> np.ndarray:
    """Numbers n to 1, so that the lowest index has the largest."""
    numbers = np.arange(n, 0, -1, dtype=kind)
    numbers.flags.writeable = False
    return numbers


def _first_of_tied(sizes: np.ndarray, threshold: np.ndarray, k: int) -> np.ndarray:
    """Marks the entries above the threshold of each row and, up to k, the first of those that equal it."""
    above, tied = sizes > threshold, sizes == threshold
    free = k - np.count_nonzero(above, axis=1, keepdims=True)
    return above | (tied & (tied.cumsum(1, dtype=np.int32) <= free))


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
