"""A recurrence whose decay is one number for each head, as matrix products of parts of the sequence.

Dao, Gu: "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality",
ICML 2024, arXiv 2405.21060, section 6.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequences.layers.scan import linear_scan

PART = 32  # steps of a part


def dual_scan(x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """y_i = Σ_{j ≤ i} ⟨read_i, write_j⟩ exp(Σ_{j < k ≤ i} log_decay_k) x_j, for each head.

    Within a part of 32 steps the weights of all pairs are computed; what comes from earlier parts is a state of N
    numbers for each channel. Differences of sums are taken before the exponential, so that nothing overflows.

    Args:
        x: (T, B, H, P), P channels for each of H heads.
        log_decay: (T, B, H), at most 0.
        write: (T, B, N).
        read: (T, B, N).

    Returns:
        y (T, B, H, P).
    """
    steps = x.shape[0]
    x, write, read = _parts(x).transpose(2, 3), _parts(write), _parts(read)  # (C, B, H, Q, P) and (C, B, Q, N)
    total = _parts(log_decay).transpose(2, 3).cumsum(3)  # (C, B, H, Q)
    later = torch.ones(PART, PART, dtype=torch.bool, device=x.device).triu(1)
    between = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf).exp()
    pairs = (read @ write.transpose(2, 3))[:, :, None] * between  # (C, B, H, Q, Q)
    left = (total[..., -1:] - total).exp()  # at the end of the part
    made = write.transpose(2, 3)[:, :, None] @ (x * left[..., None])  # (C, B, H, N, P)
    decay = total[..., -1].exp()[..., None, None].expand_as(made)
    states = linear_scan(decay, made)
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    y = pairs @ x + total.exp()[..., None] * (read[:, :, None] @ before)
    return y.permute(0, 3, 1, 2, 4).flatten(0, 1)[:steps]


def _parts(values: Tensor) -> Tensor:
    """(T, B, ...) as (C, B, Q, ...), with zeros behind."""
    missing = -values.shape[0] % PART
    padded = F.pad(values, (0, 0) * (values.ndim - 1) + (0, missing))
    return padded.unflatten(0, (-1, PART)).transpose(1, 2)
