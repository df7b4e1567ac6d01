"""Causal attention with a sink: a learned logit per head that takes part in the softmax and adds nothing."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> Tensor:
    """Causal attention (B, H, T, D) with weights exp(s_ij) / (exp(sink_h) + sum over j' <= i of exp(s_ij')).

    Args:
        q, k, v: (B, H, T, D); s = q k / sqrt(D).
        sink: (H,), or None for plain attention.

    Gao et al., arXiv 2511.13653, appendix A.1.
    """
    if sink is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = (q @ k.mT) / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(future, -torch.inf)
    extra = sink[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.cat([scores, extra], -1).softmax(-1)[..., :-1] @ v
