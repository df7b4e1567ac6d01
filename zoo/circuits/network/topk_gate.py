"""k-winner gates: of each vector only the k largest entries pass, while all of them get gradients."""

import torch
from torch import Tensor


def winners(scores: Tensor, k: int, temperature: float = 0.1) -> Tensor:
    """Gates (..., n) in {0, 1}, 1 at the k largest scores; their gradient is that of soft gates that sum to k.

        γ = (x_(k) + x_(k+1)) / 2        T = τ (x_(k) - x_(k+1))        soft = k σ((x - γ) / T) / Σ σ((x - γ) / T)

    Hard gates go forward because soft ones let a network tell later tokens apart (arXiv 2505.00509).

    Args:
        scores: (..., n) with n > k.
        k: winners, at least 1.
        temperature: τ, in gaps between the last winner and the first loser; more spreads the gradient over more scores.
    """
    best = scores.topk(k + 1, dim=-1)
    last, next_one = best.values[..., k - 1 : k], best.values[..., k:]
    threshold = (last + next_one) / 2
    width = (temperature * (last - next_one)).clamp_min(torch.finfo(scores.dtype).eps)
    soft = ((scores - threshold) / width).sigmoid()
    soft = k * soft / soft.sum(-1, keepdim=True)
    hard = torch.zeros_like(scores).scatter(-1, best.indices[..., :k], 1.0)
    return hard + (soft - soft.detach())  # in this order the gates are 0 and 1 without rounding
