"""Causal attention with a sink: a learned logit per head that enters the softmax and has no value."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten
CPU_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> Tensor:
    """Causal attention with weights exp(s_ij) / (exp(sink_h) + Σ_{j' <= i} exp(s_ij')), where s = q k / sqrt(D).

    It equals sigmoid(lse_i - sink_h) out_i exactly, where out_i is the output of causal attention without a sink and
    lse_i the logarithm of its denominator, so a fused kernel can be used. If no kernel returns lse, and in exported
    graphs, the softmax is computed over the scores and one additional column.

    Args:
        q: queries (B, H, T, D).
        k: keys (B, H, T, D).
        v: values (B, H, T, D).
        sink: (H,), or None for attention without a sink.

    Returns:
        (B, H, T, D).

    Raises:
        ValueError: other shapes.

    Gao et al., arXiv 2511.13653, 2025, appendix A.1.
    """
    if q.ndim != 4 or k.shape != q.shape or v.shape != q.shape:
        raise ValueError(
            "attention expects q, k and v of the same shape (B, H, T, D); got "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}."
        )
    if sink is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    if sink.shape != q.shape[1:2]:
        raise ValueError(f"expected one sink logit per head, shape ({q.shape[1]},); got {tuple(sink.shape)}.")
    kernel = None if torch.compiler.is_compiling() else _kernel(q, k, v)
    return explicit(q, k, v, sink) if kernel is None else _SinkAttention.apply(q, k, v, sink, kernel)


def explicit(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
    """Sink attention by its definition, a softmax over the scores and the sink; needs O(T^2) memory."""
    scores = (q @ k.mT) / q.shape[-1] ** 0.5  # (B, H, T, T)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(future, -torch.inf)
    extra = sink.to(scores)[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.cat([scores, extra], -1).softmax(-1)[..., :-1] @ v


class _Kernel(NamedTuple):
    """Causal attention without a sink: forward returns out, lse, and further arguments of backward."""

    forward: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, tuple[Any, ...]]]
    backward: Callable[..., tuple[Tensor, ...]]


def _kernel(q: Tensor, k: Tensor, v: Tensor) -> _Kernel | None:
    """The fastest kernel for these inputs that returns lse; None if there is none."""
    if q.numel() == 0 or type(q) not in (Tensor, torch.nn.Parameter) or not q.dtype == k.dtype == v.dtype:
        return None
    if q.device.type == "cpu":
        return _CPU if q.dtype in CPU_TYPES else None
    if q.device.type == "cuda":
        params = torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, True, False)
        if q.shape[-1] % 8 == 0 and torch.backends.cuda.can_use_flash_attention(params):
            return _FLASH
        if torch.backends.cuda.can_use_efficient_attention(params):
            return _EFFICIENT
    return None


class _SinkAttention(torch.autograd.Function):
    """Sink attention by a kernel of causal attention, whose backward pass is given the lse that includes the sink.

    With p_ij = exp(s_ij - lse'_i), lse' = log(exp(lse) + exp(sink)) and the gated output out, the gradient of the
    scores is p_ij (dout_i v_j - delta_i), where delta_i = dout_i out_i. The kernel computes this from lse' and out. The
    gradient of the sink, whose value is 0, is -Σ_i exp(sink - lse'_i) delta_i.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sink: Tensor, kernel: _Kernel) -> Tensor:
        out, lse, rest = kernel.forward(q, k, v)
        logit = sink.to(lse)[:, None]
        gate = torch.sigmoid(lse[..., : q.shape[2]] - logit)  # one of the kernels pads lse
        out = out * gate[..., None].to(out)
        ctx.save_for_backward(q, k, v, sink, out, torch.logaddexp(lse, logit).contiguous())
        ctx.kernel, ctx.rest = kernel, rest
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _sink_backward(ctx, *grad_outputs)


@torch.autograd.function.once_differentiable
def _sink_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, sink, out, lse = ctx.saved_tensors
    dsink = None
    if ctx.needs_input_grad[3]:
        delta = (grad * out).sum(-1, dtype=lse.dtype)  # (B, H, T)
        share = (sink.to(lse)[:, None] - lse[..., : q.shape[2]]).exp()
        dsink = -(share * delta).sum((0, 2)).to(sink)
    return *ctx.kernel.backward(grad, q, k, v, out, lse, *ctx.rest), dsink, None


def _cpu(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    return out, lse, ()


def _cpu_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
    return aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, lse, 0.0, True)


def _flash(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    out, lse, *rest = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)
    return out, lse, tuple(rest[:6])  # the last output is for debugging only


def _flash_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    starts_and_lengths, random = rest[:4], rest[4:]
    return aten._scaled_dot_product_flash_attention_backward(
        grad, q, k, v, out, lse, *starts_and_lengths, 0.0, True, *random
    )


def _efficient(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    out, lse, *random = aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, True)
    return out, lse, tuple(random)


def _efficient_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *random: Any
) -> tuple[Tensor, ...]:
    wanted = [True, True, True, False]  # no gradient of the attention bias
    return aten._scaled_dot_product_efficient_attention_backward(
        grad, q, k, v, None, out, lse, *random, 0.0, wanted, True
    )[:3]


_CPU = _Kernel(_cpu, _cpu_backward)
_FLASH = _Kernel(_flash, _flash_backward)
_EFFICIENT = _Kernel(_efficient, _efficient_backward)
