"""AbsTopK: keeps the k entries of largest magnitude of each vector and sets the others to zero."""

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.circuits.kernels.selection import FLOATS, INTEGERS, bit_view, in_threads, largest_of_rows, magnitudes

CHUNK = 2**16  # entries per step on the CPU, so that intermediate results stay in the cache
LONG = 2**18  # entries from which several threads are faster than one
WIDEST = 8192  # longest vector that the CUDA kernel holds on chip


def abs_topk(x: Tensor, k: int) -> Tensor:
    """Keeps the k entries of largest magnitude along the last axis and sets the others to 0.

    Exactly k entries are kept, and only these receive gradients. Ties are broken by the lowest index, except in
    compiled or exported graphs and on devices without Triton, where the choice among tied entries is undefined.

    Args:
        x: (..., n).
        k: at least 1; if k >= n, x is returned unchanged.

    Raises:
        ValueError: k is less than 1.

    Gao et al., arXiv 2511.13653, 2025, appendix A.1.
    """
    if k < 1:
        raise ValueError(f"AbsTopK requires k >= 1; got k={k}.")
    if k >= x.shape[-1]:
        return x
    eager = not torch.compiler.is_compiling() and type(x) in (Tensor, torch.nn.Parameter)
    if eager and ((x.device.type == "cpu" and x.dtype in FLOATS) or fused(x)):
        return _AbsTopK.apply(x, k)
    return plain(x, k)


def plain(x: Tensor, k: int) -> Tensor:
    """AbsTopK by operations of torch alone; the choice among tied entries is undefined."""
    kept = x.abs().topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(x).scatter(-1, kept, x.gather(-1, kept))


def fused(x: Tensor) -> bool:
    """Returns whether the CUDA kernel supports x."""
    types = (torch.float32, torch.bfloat16, torch.float16)
    return x.device.type == "cuda" and x.dtype in types and x.shape[-1] <= WIDEST and has_triton()


@cache
def has_triton() -> bool:
    """Returns whether Triton is installed; CUDA builds of torch include it."""
    return importlib.util.find_spec("triton") is not None


class _AbsTopK(torch.autograd.Function):
    """Saves a mask of one byte per entry for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: int) -> Tensor:
        if x.device.type == "cpu":
            out, kept = _on_cpu(x, k)
        else:
            from zoo.circuits.kernels.triton_topk import fused_abs_topk  # only with Triton, see `fused`

            out, kept = fused_abs_topk(x, k)
        ctx.save_for_backward(kept)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,), (kept,) = grad_outputs, ctx.saved_tensors
        if grad.device.type != "cpu" or torch.is_grad_enabled():  # the second case: double backward
            return grad * kept, None
        out = torch.empty_like(grad, memory_format=torch.contiguous_format)
        np.multiply(bit_view(grad).numpy(), kept.numpy(), out=bit_view(out).numpy())  # 3 times as fast as in torch
        return out, None


def _on_cpu(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Output and mask, computed on the bits of x by numpy."""
    n = x.shape[-1]
    out, kept = torch.empty(x.shape, dtype=INTEGERS[x.element_size()]), torch.empty(x.shape, dtype=torch.bool)
    source, target, mask = (t.reshape(-1, n).numpy() for t in (bit_view(x), out, kept))
    threads = torch.get_num_threads() if x.numel() >= LONG else 1
    rows = max((CHUNK if threads == 1 else min(x.numel() // threads, 2 * CHUNK)) // n, 1)

    def select(start: int) -> None:
        part = slice(start, start + rows)
        bits = source[part]
        mask[part] = largest_of_rows(magnitudes(bits), k)
        np.multiply(bits, mask[part], out=target[part])  # on bits, so that infinity * 0 is 0

    in_threads(select, range(0, len(source), rows), threads)
    return out.view(x.dtype), kept
