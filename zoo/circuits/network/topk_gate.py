"""Top-k gates with a straight-through gradient."""

import torch
from torch import Tensor


def topk_gate(scores: Tensor, k: int, temperature: float = 0.1) -> Tensor:
    """Gates that are 1 at the k largest scores and 0 elsewhere; their gradient is that of soft gates that sum to k.

        γ = (x_(k) + x_(k+1)) / 2        T = τ (x_(k) - x_(k+1))        soft = k σ((x - γ) / T) / Σ σ((x - γ) / T)

    The forward pass uses hard gates because soft ones leak information about later tokens.

    Args:
        scores: (..., n) with n > k.
        k: number of open gates, at least 1.
        temperature: τ, in units of the gap x_(k) - x_(k+1); a larger value spreads the gradient over more scores.

    Returns:
        (..., n), each 0 or 1.

    "Self-Ablating Transformers: More Interpretability, Less Sparsity", arXiv 2505.00509, 2025.
    """
    best = scores.topk(k + 1, dim=-1)
    last, next_one = best.values[..., k - 1 : k], best.values[..., k:]
    threshold = (last + next_one) / 2
    width = (temperature * (last - next_one)).clamp_min(torch.finfo(scores.dtype).eps)
    soft = ((scores - threshold) / width).sigmoid()
    soft = k * soft / soft.sum(-1, keepdim=True)
    hard = torch.zeros_like(scores).scatter(-1, best.indices[..., :k], 1.0)
    return hard + (soft - soft.detach())  # in this order the gates are exactly 0 and 1
