"""AbsTopK as one Triton kernel: each vector stays on chip and its threshold is found by counting."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# The lowest bit of an fp32 number that a value of this dtype can set; the search stops there.
LOWEST = {torch.float32: 0, torch.bfloat16: 16, torch.float16: 13}


@triton.jit
def _kernel(
    x_ptr: tl.tensor,
    out_ptr: tl.tensor,
    kept_ptr: tl.tensor,
    stride: tl.tensor,
    n: tl.tensor,
    k: tl.tensor,
    WIDTH: tl.constexpr,
    LOW: tl.constexpr,
) -> None:
    """Processes one row: finds the largest threshold that at least k magnitudes reach, from the highest bit down."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    inside = column < n
    x = tl.load(x_ptr + row * stride + column, mask=inside, other=0.0)
    size = x.to(tl.float32).to(tl.int32, bitcast=True) & 0x7FFFFFFF  # ordered like the magnitudes
    size = tl.where(inside, size, -1)
    threshold = 0
    reached = n
    bit = 30
    while (bit >= LOW) & (reached != k):
        higher = threshold | (1 << bit)
        count = tl.sum((size >= higher).to(tl.int32), axis=0)
        threshold = tl.where(count >= k, higher, threshold)
        reached = tl.where(count >= k, count, reached)
        bit -= 1
    kept = size >= threshold
    if reached > k:  # more than k reach the threshold: of the tied ones, keep the first
        tied = size == threshold
        free = k - tl.sum((size > threshold).to(tl.int32), axis=0)
        kept = (size > threshold) | (tied & (tl.cumsum(tied.to(tl.int32), axis=0) <= free))
    place = row * n + column
    tl.store(out_ptr + place, tl.where(kept, x, 0.0), mask=inside)
    tl.store(kept_ptr + place, kept, mask=inside)


def fused_abs_topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Applies AbsTopK to the last axis; ties are broken by the lowest index.

    Args:
        x: (..., n) of fp32, bf16 or fp16; n <= 8192.
        k: from 1 to n.

    Returns:
        Output (..., n), and mask of the kept entries (..., n), bool.
    """
    n = x.shape[-1]
    rows = x.detach().reshape(-1, n)  # a view if the rows have a common stride
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    kept = torch.empty(x.shape, dtype=torch.bool, device=x.device)
    if rows.shape[0]:
        width = triton.next_power_of_2(n)
        warps = min(max(width // 256, 1), 16)
        kernel: Any = _kernel  # launch options such as num_warps are not in the signature of the kernel
        kernel[(rows.shape[0],)](
            rows, out, kept, rows.stride(0), n, k, WIDTH=width, LOW=LOWEST[x.dtype], num_warps=warps
        )
    return out, kept
