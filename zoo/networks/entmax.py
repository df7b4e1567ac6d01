"""Sparse choices: entmax-1.5, and its binary form entmoid-1.5.

Peters, Niculae, Martins: "Sparse Sequence-to-Sequence Models", ACL 2019, arXiv 1905.05702, algorithm 2.
"""

import torch
from torch import Tensor


def entmax15(scores: Tensor, dim: int = -1) -> Tensor:
    """Between softmax and sparsemax: max(0, z / 2 - τ)² with the τ for which the sum along `dim` is 1.

    τ = m - sqrt((1 - s) / k) for the mean m and the sum s of squared deviations of the k largest z / 2; k is the
    largest number whose smallest member is at least τ.
    """
    z = scores.float().movedim(dim, -1) / 2
    z = z - z.detach().amax(-1, keepdim=True)
    with torch.no_grad():  # the support
        ordered = z.sort(-1, descending=True).values
        number = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        mean, square = ordered.cumsum(-1) / number, ordered.square().cumsum(-1) / number
        threshold = mean - ((1 / number - square + mean.square()).clamp_min(0)).sqrt()
        size = (threshold <= ordered).sum(-1, keepdim=True).clamp_min(1)
        inside = z > threshold.gather(-1, size - 1)
    count = inside.sum(-1, keepdim=True)
    mean = torch.where(inside, z, 0.0).sum(-1, keepdim=True) / count
    spread = torch.where(inside, (z - mean).square(), 0.0).sum(-1, keepdim=True)
    threshold = mean - ((1 - spread) / count).clamp_min(0).sqrt()
    return torch.where(inside, z - threshold, 0.0).square().movedim(-1, dim)


def entmoid15(scores: Tensor) -> Tensor:
    """The first of entmax15([x, 0]): 1/2 + x sqrt(8 - x²) / 8 in [-2, 2], exactly 0 below and 1 above."""
    x = scores.clamp(-2, 2)
    return 0.5 + x * (8 - x.square()).sqrt() / 8
