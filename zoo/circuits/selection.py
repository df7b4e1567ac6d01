"""The largest magnitudes, exactly and on the CPU: by the bits of the numbers, which order them as integers do.

The threshold comes from `numpy.partition`, which is vectorised on integers; equal magnitudes go to the lowest index.
"""

import numpy as np
import torch
from torch import Tensor

WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def words(x: Tensor) -> Tensor:
    """The bits of floating-point numbers, as integers of their size, in the same memory."""
    return x.detach().view(WORDS[x.element_size()])


def magnitudes(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Integers of the order of the magnitudes, from the bits of the numbers; at least 32 bits wide."""
    wide = np.int64 if bits.dtype == np.int64 else np.int32  # partition is not vectorised everywhere for 16 bits
    sign = np.iinfo(bits.dtype).max
    return np.bitwise_and(bits, sign, out=np.empty(bits.shape, wide) if out is None else out)


def largest(sizes: np.ndarray, k: int) -> np.ndarray:
    """Which k of each row (R, n) are the largest, as (R, n) bool; k from 1 to n, ties go to the lowest index."""
    n = sizes.shape[1]
    threshold = np.partition(sizes, n - k, axis=1)[:, n - k : n - k + 1]
    kept = sizes >= threshold
    if np.count_nonzero(kept) > k * len(sizes):
        tied_rows = np.flatnonzero(np.count_nonzero(kept, axis=1) > k)
        sizes, threshold = sizes[tied_rows], threshold[tied_rows]
        above, tied = sizes > threshold, sizes == threshold
        free = k - np.count_nonzero(above, axis=1, keepdims=True)
        kept[tied_rows] = above | (tied & (tied.cumsum(1, dtype=np.int32) <= free))
    return kept
