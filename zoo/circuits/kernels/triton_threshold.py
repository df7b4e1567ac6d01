"""The k largest entries of each of several long vectors, in Triton: a search for the threshold by counting.

Each pass compares every entry with 15 thresholds, so 8 passes find any 31-bit threshold. A first pass around the
threshold of the previous step usually removes more than half of the remaining work. Passes over a vector whose
threshold is already known return immediately.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX = 2**31 - 1
BUCKETS = 16
PASSES = 9
BLOCK, STEPS = 1024, 8  # entries per step and steps per program


@triton.jit
def _entries(
    sizes_ptr: tl.tensor, vector: tl.tensor, first: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> tl.tensor:
    """Loads a block of entries; positions beyond the vector are -1."""
    place = first + tl.arange(0, BLOCK)
    found = tl.load(sizes_ptr + vector.to(tl.int64) * size + place, mask=place < size, other=-1)
    return tl.minimum(found, 0x7FFFFFFE)  # below the initial upper bound


@triton.jit
def _count(
    sizes_ptr: tl.tensor,
    tried_ptr: tl.tensor,
    state_ptr: tl.tensor,
    counts_ptr: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
    BUCKETS: tl.constexpr,
) -> None:
    """Adds to counts (n, 16) how many entries reach exactly j of the 15 ascending thresholds in `tried` (n, 16)."""
    vector = tl.program_id(1)
    if tl.load(state_ptr + vector * 4 + 3) == 0:
        lanes = tl.arange(0, BUCKETS)
        counts = tl.zeros((BUCKETS,), tl.int32)
        for step in range(STEPS):
            entries = _entries(sizes_ptr, vector, (tl.program_id(0) * STEPS + step) * BLOCK, size, BLOCK)
            bucket = tl.zeros((BLOCK,), tl.int32)
            for j in tl.static_range(1, BUCKETS):  # pyright: ignore[reportGeneralTypeIssues]
                bucket += (entries >= tl.load(tried_ptr + vector * BUCKETS + j)).to(tl.int32)
            counts += tl.histogram(bucket, BUCKETS)
        tl.atomic_add(counts_ptr + vector * BUCKETS + lanes, counts, sem="relaxed")


@triton.jit
def _narrow(
    tried_ptr: tl.tensor, state_ptr: tl.tensor, counts_ptr: tl.tensor, keep: tl.tensor, BUCKETS: tl.constexpr
) -> None:
    """Narrows the interval of one vector's threshold and writes the thresholds of the next pass.

    The state is (low, high, number of entries >= high, done); more than `keep` entries reach low, at most `keep` high.
    """
    vector = tl.program_id(0)
    state = state_ptr + vector * 4
    if tl.load(state + 3) == 0:
        lanes = tl.arange(0, BUCKETS)
        low, high, reach_high = tl.load(state), tl.load(state + 1), tl.load(state + 2)
        tried = tl.load(tried_ptr + vector * BUCKETS + lanes)
        counts = tl.load(counts_ptr + vector * BUCKETS + lanes)
        reach = tl.sum(counts, axis=0) - tl.cumsum(counts, axis=0) + counts  # entries in this bucket or a higher one
        low = tl.maximum(low, tl.max(tl.where((lanes > 0) & (reach > keep), tried, 0), axis=0))
        fits = (lanes > 0) & (reach <= keep) & (tried < high)
        first = tl.min(tl.where(fits, tried, high), axis=0)
        reach_first = tl.max(tl.where(fits & (tried == first), reach, 0), axis=0)
        reach_high = tl.where(first < high, reach_first, reach_high)
        high = first
        tl.store(state, low)
        tl.store(state + 1, high)
        tl.store(state + 2, reach_high)
        tl.store(state + 3, ((high - low <= 1) | (reach_high == keep)).to(tl.int32))
        spread = ((high - low).to(tl.int64) * lanes // BUCKETS).to(tl.int32)
        tl.store(tried_ptr + vector * BUCKETS + lanes, low + spread)
        tl.store(counts_ptr + vector * BUCKETS + lanes, tl.zeros((BUCKETS,), tl.int32))


@triton.jit
def _ties(
    sizes_ptr: tl.tensor,
    state_ptr: tl.tensor,
    ties_ptr: tl.tensor,
    size: tl.tensor,
    blocks: tl.tensor,
    keep: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Counts the entries of each block that equal the threshold, if only some of them can be kept."""
    vector, block = tl.program_id(1), tl.program_id(0)
    state = state_ptr + vector * 4
    low, reach_high = tl.load(state), tl.load(state + 2)
    tied = 0
    if (reach_high < keep) & (low > 0):
        entries = _entries(sizes_ptr, vector, block * BLOCK, size, BLOCK)
        tied = tl.sum((entries == low).to(tl.int32), axis=0)
    tl.store(ties_ptr + vector * blocks + block, tied)


@triton.jit
def _keep(
    sizes_ptr: tl.tensor,
    state_ptr: tl.tensor,
    before_ptr: tl.tensor,
    kept_ptr: tl.tensor,
    size: tl.tensor,
    blocks: tl.tensor,
    keep: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Writes the mask: all entries >= high, and the first of those equal to low (`before`: ties in earlier blocks)."""
    vector, block = tl.program_id(1), tl.program_id(0)
    state = state_ptr + vector * 4
    low, high, reach_high = tl.load(state), tl.load(state + 1), tl.load(state + 2)
    entries = _entries(sizes_ptr, vector, block * BLOCK, size, BLOCK)
    kept = entries >= high
    if (reach_high < keep) & (low > 0):
        tied = entries == low
        rank = tl.load(before_ptr + vector * blocks + block) + tl.cumsum(tied.to(tl.int32), axis=0)
        kept = kept | (tied & (rank <= keep - reach_high))
    place = block * BLOCK + tl.arange(0, BLOCK)
    tl.store(kept_ptr + vector.to(tl.int64) * size + place, kept, mask=place < size)


def largest_of_each(sizes: Tensor, keep: int, near: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Marks the `keep` largest entries of each row and returns the threshold of each row.

    Ties are broken by the lowest index. If a row has fewer than `keep` non-zeros, zeros may be left out. There is no
    synchronisation with the device.

    Args:
        sizes: (n, N) int32, non-negative; N < 2^31.
        keep: from 1 to N - 1.
        near: (n,) thresholds to search around first, such as those of the previous step; they affect only the speed.

    Returns:
        Mask (n, N), bool, and thresholds (n,), int32.
    """
    count, size = sizes.shape
    device = sizes.device
    lanes = torch.arange(BUCKETS, device=device)
    if near is None:
        tried = (lanes * (2**31 // BUCKETS)).expand(count, -1)
    else:
        away = (lanes - BUCKETS // 2).sign() * 2 ** (3 * (lanes - BUCKETS // 2).abs())
        tried = (near.long()[:, None] + away).clamp(1, MAX - 1)
    tried = tried.int().contiguous()
    state = torch.zeros(count, 4, dtype=torch.int32, device=device)
    state[:, 1] = MAX
    counts = torch.zeros(count, BUCKETS, dtype=torch.int32, device=device)
    wide = triton.cdiv(size, BLOCK * STEPS)
    for _ in range(PASSES):
        _launch(_count, (wide, count), sizes, tried, state, counts, size, BLOCK, STEPS, BUCKETS)
        _launch(_narrow, (count,), tried, state, counts, keep, BUCKETS)
    blocks = triton.cdiv(size, BLOCK)
    ties = torch.empty(count, blocks, dtype=torch.int32, device=device)
    _launch(_ties, (blocks, count), sizes, state, ties, size, blocks, keep, BLOCK)
    before = ties.cumsum(1, dtype=torch.int32) - ties
    kept = torch.empty(count, size, dtype=torch.bool, device=device)
    _launch(_keep, (blocks, count), sizes, state, before, kept, size, blocks, keep, BLOCK)
    return kept, state[:, 1].clone()


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any) -> None:
    kernel[grid](*arguments)
