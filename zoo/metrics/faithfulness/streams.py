"""Random numbers that depend on (seed, sample id) only, so that results do not depend on batches or processes.

A counter-based generator: number j of a sample is a hash of (seed, stream, id, j), as in Salmon et al.: "Parallel
Random Numbers: As Easy as 1, 2, 3", SC 2011. The hash is the finaliser of SplitMix64 (Steele et al., OOPSLA 2014).
"""

import math
import zlib

import torch
from torch import Tensor


def uniform(ids: Tensor, count: int, seed: int, stream: str = "") -> Tensor:
    """(B, count) float64 in (0, 1) for sample ids (B,) int64; different streams are independent."""
    step = _wrap(0x9E3779B97F4A7C15)
    start = _mix(_mix(torch.tensor(seed, device=ids.device) * step) + zlib.crc32(stream.encode()))
    keys = _mix(_mix(ids * step + start)[:, None] + torch.arange(1, count + 1, device=ids.device) * step)
    return (((keys >> 11) & ((1 << 53) - 1)).double() + 0.5) / (1 << 53)


def normal(ids: Tensor, count: int, seed: int, stream: str = "") -> Tensor:
    """(B, count) float64 standard normal numbers; see `uniform`."""
    return torch.special.ndtri(uniform(ids, count, seed, stream))


def integers(ids: Tensor, count: int, below: int, seed: int, stream: str = "") -> Tensor:
    """(B, count) int64 from 0 to `below` - 1; see `uniform`."""
    return (uniform(ids, count, seed, stream) * below).long()


def normal_like(x: Tensor, ids: Tensor, seed: int, stream: str = "") -> Tensor:
    """Standard normal noise with the shape and dtype of `x` (B, ...)."""
    return normal(ids, math.prod(x.shape[1:]), seed, stream).view(x.shape).to(x.dtype)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _right(z, 30)) * _wrap(0xBF58476D1CE4E5B9)
    z = (z ^ _right(z, 27)) * _wrap(0x94D049BB133111EB)
    return z ^ _right(z, 31)


def _right(z: Tensor, by: int) -> Tensor:
    """A logical right shift; that of torch is arithmetic and keeps the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _wrap(value: int) -> int:
    """An unsigned 64-bit number as the signed number with the same bits."""
    return value - (1 << 64) if value >> 63 else value
