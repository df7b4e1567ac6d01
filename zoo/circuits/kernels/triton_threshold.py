"""The largest entries of many long vectors at once, in Triton: a search for thresholds by counting.

A pass compares every entry with 15 thresholds, so that 8 passes would find any; the first of them, around the last
step's threshold, mostly leaves less than half of the rest to do. Passes of a vector that is done return at once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX = 2**31 - 1
BUCKETS = 16
PASSES = 9
BLOCK, STEPS = 1024, 8  # entries at a time, and times, of one program


@triton.jit
def _entries(sizes_ptr, vector, first, size, BLOCK: tl.constexpr):
    place = first + tl.arange(0, BLOCK)
    found = tl.load(sizes_ptr + vector.to(tl.int64) * size + place, mask=place < size, other=-1)
    return tl.minimum(found, 0x7FFFFFFE)  # below the first upper end


@triton.jit
def _count(
    sizes_ptr, tried_ptr, state_ptr, counts_ptr, size, BLOCK: tl.constexpr, STEPS: tl.constexpr, BUCKETS: tl.constexpr
):
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
def _narrow(tried_ptr, state_ptr, counts_ptr, keep, BUCKETS: tl.constexpr):
    """One vector: state (low, high, entries that reach high, done), where more than `keep` reach low but not high."""
    vector = tl.program_id(0)
    state = state_ptr + vector * 4
    if tl.load(state + 3) == 0:
        lanes = tl.arange(0, BUCKETS)
        low, high, reach_high = tl.load(state), tl.load(state + 1), tl.load(state + 2)
        tried = tl.load(tried_ptr + vector * BUCKETS + lanes)
        counts = tl.load(counts_ptr + vector * BUCKETS + lanes)
        reach = tl.sum(counts, axis=0) - tl.cumsum(counts, axis=0) + counts  # that bucket or a higher one
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
def _ties(sizes_ptr, state_ptr, ties_ptr, size, blocks, keep, BLOCK: tl.constexpr):
    """Writes how many entries of each block equal the threshold, where not all that do have room."""
    vector, block = tl.program_id(1), tl.program_id(0)
    state = state_ptr + vector * 4
    low, reach_high = tl.load(state), tl.load(state + 2)
    tied = 0
    if (reach_high < keep) & (low > 0):
        entries = _entries(sizes_ptr, vector, block * BLOCK, size, BLOCK)
        tied = tl.sum((entries == low).to(tl.int32), axis=0)
    tl.store(ties_ptr + vector * blocks + block, tied)


@triton.jit
def _keep(sizes_ptr, state_ptr, before_ptr, kept_ptr, size, blocks, keep, BLOCK: tl.constexpr):
    """Writes what is kept: all that reach high, and the first that equal low; `before` of those are in other blocks."""
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
    """Which `keep` of each of the rows (n, N) are the largest, as bool, and the threshold (n,) of each.

    Ties go to the lowest index; zeros may be left out where there are fewer non-zeros. Nothing waits for the device.

    Args:
        sizes: int32, not negative; N below 2^31.
        keep: from 1 to N - 1.
        near: thresholds to look around first, or None; the result does not depend on them.
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
        _count[(wide, count)](sizes, tried, state, counts, size, BLOCK, STEPS, BUCKETS)
        _narrow[(count,)](tried, state, counts, keep, BUCKETS)
    blocks = triton.cdiv(size, BLOCK)
    ties = torch.empty(count, blocks, dtype=torch.int32, device=device)
    _ties[(blocks, count)](sizes, state, ties, size, blocks, keep, BLOCK)
    before = ties.cumsum(1, dtype=torch.int32) - ties
    kept = torch.empty(count, size, dtype=torch.bool, device=device)
    _keep[(blocks, count)](sizes, state, before, kept, size, blocks, keep, BLOCK)
    return kept, state[:, 1].clone()
