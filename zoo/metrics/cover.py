"""The fewest entries that hold a given share of a sum."""

import torch
from torch import Tensor


def smallest_cover(weight: Tensor, share: float = 0.9) -> Tensor:
    """The fewest entries of the last axis whose sum reaches a share of the total.

    Args:
        weight: (..., n), non-negative.
        share: in (0, 1].

    Returns:
        (..., n) bool. Ties go to the lowest index; entries of weight 0 are never included.
    """
    ordered, order = weight.double().sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    total = ordered.sum(-1, keepdim=True)
    kept = (before < share * total * (1 - 1e-12)) & (ordered > 0)
    return torch.zeros_like(kept).scatter_(-1, order, kept)
