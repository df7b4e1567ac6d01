"""AbsTopK: of each vector only the entries of largest magnitude, everything else zero."""

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.circuits.kernels.selection import FLOATS, WORDS, in_threads, largest_of_rows, magnitudes, words

CHUNK = 2**16  # entries at a time on the CPU, so that what is computed between stays in its cache
LONG = 2**18  # entries from which several threads are worth their hand-overs
WIDEST = 8192  # vectors that a CUDA kernel holds on the chip


def abs_topk(x: Tensor, k: int) -> Tensor:
    """The k entries of largest magnitude along the last axis, all others 0; gradients reach the kept ones only.

    Args:
        x: (..., n).
        k: from 1; from n on x is given back. Exactly k are kept. Ties go to the lowest index, but to any of the tied
            in compiled and exported graphs and where there is neither a CPU nor Triton.

    Raises:
        ValueError: k is less than 1.

    Gao et al., arXiv 2511.13653, appendix A.1.
    """
    if k < 1:
        raise ValueError(f"AbsTopK keeps at least 1 entry; got k = {k}.")
    if k >= x.shape[-1]:
        return x
    ours = not torch.compiler.is_compiling() and type(x) in (Tensor, torch.nn.Parameter)
    if ours and ((x.device.type == "cpu" and x.dtype in FLOATS) or fused(x)):
        return _AbsTopK.apply(x, k)
    return plain(x, k)


def plain(x: Tensor, k: int) -> Tensor:
    """The same by torch's own operations; ties go to any of the tied."""
    kept = x.abs().topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(x).scatter(-1, kept, x.gather(-1, kept))


def fused(x: Tensor) -> bool:
    """Whether the CUDA kernel takes x."""
    types = (torch.float32, torch.bfloat16, torch.float16)
    return x.device.type == "cuda" and x.dtype in types and x.shape[-1] <= WIDEST and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton, which comes with CUDA builds of torch, is installed."""
    return importlib.util.find_spec("triton") is not None


class _AbsTopK(torch.autograd.Function):
    """Keeps a mask of one byte an entry for the backward pass, and no indices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: int) -> Tensor:
        if x.device.type == "cpu":
            out, kept = _on_cpu(x, k)
        else:
            from zoo.circuits.kernels.triton_topk import fused_abs_topk  # Triton is there, see `fused`

            out, kept = fused_abs_topk(x, k)
        ctx.save_for_backward(kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        if grad.device.type != "cpu" or torch.is_grad_enabled():  # gradients of gradients are wanted
            return grad * kept, None
        out = torch.empty_like(grad, memory_format=torch.contiguous_format)
        np.multiply(words(grad).numpy(), kept.numpy(), out=words(out).numpy())  # a third of the time of torch's product
        return out, None


def _on_cpu(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    n = x.shape[-1]
    out, kept = torch.empty(x.shape, dtype=WORDS[x.element_size()]), torch.empty(x.shape, dtype=torch.bool)
    source, target, mask = (t.reshape(-1, n).numpy() for t in (words(x), out, kept))
    threads = torch.get_num_threads() if x.numel() >= LONG else 1
    rows = max((CHUNK if threads == 1 else min(x.numel() // threads, 2 * CHUNK)) // n, 1)

    def select(start: int) -> None:
        part = slice(start, start + rows)
        bits = source[part]
        mask[part] = largest_of_rows(magnitudes(bits), k)
        np.multiply(bits, mask[part], out=target[part])  # of bits, so that infinity times 0 is 0

    in_threads(select, range(0, len(source), rows), threads)
    return out.view(x.dtype), kept
