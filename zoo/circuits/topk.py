"""AbsTopK: of each vector only the entries of largest magnitude, everything else zero."""

import torch
from torch import Tensor


def abs_topk(x: Tensor, k: int) -> Tensor:
    """The k entries of largest magnitude along the last axis, all others 0; gradients reach the kept ones only.

    Args:
        x: (..., n).
        k: from 1 to n; ties go to any of the tied, but exactly k are kept.

    Gao et al., arXiv 2511.13653, appendix A.1.
    """
    if k >= x.shape[-1]:
        return x
    kept = x.abs().topk(k, dim=-1).indices
    return torch.zeros_like(x).scatter(-1, kept, x.gather(-1, kept))
