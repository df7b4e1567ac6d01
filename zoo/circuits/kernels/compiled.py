"""AbsTopK on the CPU, compiled by numba: the results of the selection by numpy, bit for bit, in less time.

The k-th largest magnitude of a vector is searched by counting: how many entries reach a guess, first among the upper 16
bits of all magnitudes, of which processors compare 16 to 32 at a time, then, if these do not tell, among all bits. The
threshold of the vector before is the first guess. The vector stays in the cache meanwhile.

The kernels run in the threads of torch's OpenMP. Threads of another pool would have to share the cores with those,
which wait actively for a while after each operation of torch.
"""

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import extending, types
from numba.core import config
from numba.np.numpy_support import carray
from torch import Tensor

from zoo.circuits.kernels.selection import Scratch, bit_view, in_threads

if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]
    raise ImportError("NUMBA_DISABLE_JIT is set")

VALUES = 2**14  # per claim of a thread, so that threads end at about the same time
SOURCE, STEP, TARGET, MARKS, SIZES, ROWS, LENGTH, KEPT, CLAIM, NEXT, WORKERS = range(11)
"""Places of the numbers of a job: addresses, bytes from vector to vector, sizes, and what the threads have taken."""
intrinsic: Any = extending.intrinsic
_function: Any = numba.njit(error_model="numpy", inline="always")
_scratch = Scratch()


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """An integer as an address."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def _take(context: Any, job: Any, place: Any, count: Any) -> Any:
    """Adds a count to a number of the job and returns the number before; safe among threads."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(given[0], [given[1]]), given[2], "monotonic")

    return types.int64(types.CPointer(types.int64), types.int64, types.int64), generate


@_function
def _search(sizes: np.ndarray, n: int, k: int, guess: int, reach: int) -> Any:
    """The largest 16-bit number that at least k of n sizes reach, how many reach it, and how many exceed it.

    It may be a smaller one that exactly k reach. Three numbers are tried at once, `reach` apart in the first round.
    """
    low, reach_low, high, reach_high = np.int32(0), np.int32(n), np.int32(2**15), np.int32(0)
    middle, apart, rounds = np.int32(guess), np.int32(reach), 0
    while True:
        rounds += 1
        lower, upper = np.int32(max(middle - apart, low + 1)), np.int32(min(middle + apart, high - 1))
        below_1, below_2, below_3 = np.int16(lower - 1), np.int16(middle - 1), np.int16(upper - 1)
        count_1 = count_2 = count_3 = np.int16(0)  # numba would add in 64 bits
        for j in range(n):
            size = sizes[j]
            count_1 = np.int16(count_1 + np.int16(size > below_1))
            count_2 = np.int16(count_2 + np.int16(size > below_2))
            count_3 = np.int16(count_3 + np.int16(size > below_3))
        if count_3 >= k:
            low, reach_low = upper, np.int32(count_3)
        elif count_2 >= k:
            low, reach_low, high, reach_high = middle, np.int32(count_2), upper, np.int32(count_3)
        elif count_1 >= k:
            low, reach_low, high, reach_high = lower, np.int32(count_1), middle, np.int32(count_2)
        else:
            high, reach_high = lower, np.int32(count_1)
        if high - low <= 1 or reach_low == k:
            return low, reach_low, reach_high
        if rounds % 4 == 0:  # whatever the distribution, the interval shrinks
            middle, apart = np.int32((low + high) >> 1), np.int32(((high - low) >> 2) + 1)
        elif high == 2**15:
            apart = np.int32(4 * apart)
            middle = np.int32(low + apart)
        elif low == 0:
            apart = np.int32(4 * apart)
            middle = np.int32(high - apart)
        else:
            share = np.float32(reach_low - k) / np.float32(reach_low - reach_high)
            middle, apart = np.int32(low + np.float32(high - low) * share), np.int32(((high - low) >> 3) + 1)
        middle = np.int32(min(max(middle, low + 1), high - 1))


@_function
def _refine(row: np.ndarray, k: int, low: Any, reach_low: Any, high: Any, reach_high: Any) -> Any:
    """As `_search`, among all bits and between `low` and `high`."""
    most, rounds = row.dtype.type(np.iinfo(row.dtype).max), 0
    while high - low > 1 and reach_low != k:
        rounds += 1
        tried = (low + high) >> 1
        if low == 0 and rounds == 1:
            tried = np.int64(1)  # zeros are common
        elif rounds % 2:  # every other time, so that few rounds suffice for any distribution
            share = (np.float32(reach_low - k) + np.float32(0.5)) / np.float32(reach_low - reach_high)
            tried = min(max(low + np.int64(np.float32(high - low) * share), low + 1), high - 1)
        below, count = row.dtype.type(tried - 1), np.int32(0)
        for j in range(len(row)):
            count = np.int32(count + np.int32((row[j] & most) > below))
        if count >= k:
            low, reach_low = tried, np.int64(count)
        else:
            high, reach_high = tried, np.int64(count)
    return low, reach_low, reach_high


@_function
def _write(row: np.ndarray, target: np.ndarray, marks: np.ndarray, marked: bool, below: int) -> None:
    """Copies the entries whose magnitudes exceed `below`, and sets the others to 0.

    It is given slices because numba checks the sign of an index unless a range starts at 0.
    """
    most, none = row.dtype.type(np.iinfo(row.dtype).max), row.dtype.type(0)
    if marked:
        for j in range(len(row)):
            value = row[j]
            above = (value & most) > below
            target[j] = value if above else none
            marks[j] = above
    else:
        for j in range(len(row)):
            value = row[j]
            target[j] = value if (value & most) > below else none


@_function
def _select(job: Any, kind: Any) -> None:
    """AbsTopK of the vectors that this thread claims, which may be replaced (source and target are the same)."""
    rows, n, k, claim = job[ROWS], job[LENGTH], job[KEPT], job[CLAIM]
    target = carray(_pointer(job[TARGET]), (rows, n), kind)
    marks = carray(_pointer(job[MARKS]), (rows, n), np.uint8)
    sizes = carray(_pointer(job[SIZES] + 2 * n * _take(job, WORKERS, 1)), (n,), np.int16)
    marked, most = job[MARKS] != 0, kind(np.iinfo(kind).max)
    shift = 16 if most > 2**15 else 0
    guess, reach = np.int32(2**14 - 2**7), np.int32(160 / np.sqrt(n)) + np.int32(1)  # 1.0 as bf16; about 12 % for n 128
    start = _take(job, NEXT, claim)
    while start < rows:
        for i in range(start, min(start + claim, rows)):
            row = carray(_pointer(job[SOURCE] + i * job[STEP]), (n,), kind)
            for j in range(n):
                sizes[j] = np.int16((row[j] & most) >> shift)
            upper, reached, exceed = _search(sizes, n, k, guess, reach)
            guess = np.int32(max(upper, 1))
            low, high = np.int64(upper) << shift, np.int64(upper + 1) << shift
            low, reach_low, reach_high = _refine(row, k, low, np.int64(reached), high, np.int64(exceed))
            end, free = n, k - reach_high
            if reach_low != k:  # of several that equal the threshold, the first are kept
                end, free = 0, k - reach_high
                while free:
                    free -= (row[end] & most) == low
                    end += 1
            _write(row[:end], target[i, :end], marks[i, :end], marked, kind(low - 1))
            if end < n:
                _write(row[end:], target[i, end:], marks[i, end:], marked, kind(low))
        start = _take(job, NEXT, claim)


@_function
def _gate(job: Any, kind: Any) -> None:
    """The entries of the source where there is a mark, and 0 elsewhere."""
    size, claim = job[ROWS], job[CLAIM]
    source = carray(_pointer(job[SOURCE]), (size,), kind)
    target = carray(_pointer(job[TARGET]), (size,), kind)
    marks = carray(_pointer(job[MARKS]), (size,), np.uint8)
    start = _take(job, NEXT, claim)
    while start < size:
        stop = min(start + claim, size)
        given, out, marked = source[start:stop], target[start:stop], marks[start:stop]
        for j in range(len(given)):
            out[j] = given[j] if marked[j] != 0 else kind(0)
        start = _take(job, NEXT, claim)


def _select_32(job: Any) -> None:
    _select(job, np.int32)


def _select_16(job: Any) -> None:
    _select(job, np.int16)


def _gate_32(job: Any) -> None:
    _gate(job, np.int32)


def _gate_16(job: Any) -> None:
    _gate(job, np.int16)


@cache
def _kernel(function: Callable[[Any], None]) -> Any:
    """Compiles a kernel, or loads what an earlier process has compiled."""
    how: dict[str, Any] = {"sig": types.void(types.CPointer(types.int64)), "error_model": "numpy"}
    try:
        return numba.cfunc(cache=True, **how)(function)
    except (RuntimeError, OSError) as error:  # no folder can be written to
        warnings.warn(f"the compiled AbsTopK is not stored, so that each process compiles it: {error}", stacklevel=2)
        return numba.cfunc(**how)(function)


def select(x: Tensor, k: int, n: int, out: Tensor, kept: Tensor | None, threads: int) -> None:
    """AbsTopK of vectors of n entries of 2 or 4 bytes each; n < 2^15, since they are counted in 16 bits.

    Args:
        x: (..., parts * n), contiguous or not.
        k: entries to keep, less than n.
        n: length of a vector.
        out: contiguous, of the shape of x; it may be x.
        kept: mask to be written, or None.
        threads: largest number of threads.
    """
    source = bit_view(x).reshape(-1, n)  # a view of equally spaced vectors, or a copy
    source = source if source.stride(1) == 1 else source.contiguous()
    sizes = _scratch(0, np.int16, (threads, n))
    kernel = _kernel(_select_16 if x.element_size() == 2 else _select_32)
    mask = 0 if kept is None else kept.data_ptr()
    step = source.stride(0) * source.element_size()
    _run(kernel, threads, source.data_ptr(), step, out.data_ptr(), mask, sizes.ctypes.data, *source.shape, k)


def gate(grad: Tensor, kept: Tensor, out: Tensor, threads: int) -> None:
    """Writes the gradient where `kept`, and 0 elsewhere; all of one shape and contiguous, of 2 or 4 bytes an entry."""
    kernel = _kernel(_gate_16 if grad.element_size() == 2 else _gate_32)
    _run(kernel, threads, grad.data_ptr(), 0, out.data_ptr(), kept.data_ptr(), 0, grad.numel(), 1, 0)


def _run(kernel: Any, threads: int, *job: int) -> None:
    """Runs a kernel in so many threads on a job: its numbers from SOURCE to KEPT."""
    claim = max(VALUES // job[LENGTH], 1)
    numbers = (ctypes.c_int64 * (WORKERS + 1))(*job, claim, 0, 0)
    together = _openmp() if threads > 1 else None
    if threads == 1:
        kernel.ctypes(numbers)
    elif together is not None:
        together(kernel.address, numbers, threads, 0)
    else:
        in_threads(lambda _: kernel.ctypes(numbers), range(threads), threads)


@cache
def _openmp() -> Callable[..., None] | None:
    """Calls a kernel in each thread of torch's pool; None if this build of torch has none that can be found."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found = library.GOMP_parallel  # searched in what torch is linked to
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    found.restype = None
    return found
