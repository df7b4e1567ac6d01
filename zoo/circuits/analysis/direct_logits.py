"""The class scores of a transformer as a sum over its heads and MLPs, with the final norm held as it was.

    score_c = Σ_components Σ_i a_i ⟨ũ_c, component at i⟩ + bias_c        a_i = pool_i / σ,  ũ_c = g w_c - mean(g w_c)

With a_i held this is exact. A head is split further by the position j that it reads: Σ_i a_i P_ij ⟨ũ_c, V_j W_O⟩.

Classifiers of Hugging Face have a pooler φ(A h + a) before the head. Its factor φ(u) / u is held too, for each u of an
input, so that what a component adds to u adds to the score in that proportion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.hf_text_encoder import POOLERS, HuggingFaceText
from zoo.networks.residual_stream import final_norms, outputs
from zoo.networks.stream import Stream


@dataclass(frozen=True)
class Split:
    """Components of a score with the positions that they come from; N heads, M = L + 2 other components.

    Attributes:
        heads: (B, N, T, d), what each head reads at each position, weighted.
        output: (N, d, C), from there to the classes.
        others: (B, M, T, D), embedding, MLP of each layer, and biases of all attentions, weighted by position.
        classes: (D, C), from there to the classes.
    """

    heads: Tensor
    output: Tensor
    others: Tensor
    classes: Tensor

    def per_component(self) -> Tensor:
        """Class scores (B, 1 + N + L + 1, C): embedding, heads layer by layer, MLPs, biases of all attentions."""
        heads = torch.einsum("bnd,ndc->bnc", self.heads.sum(2), self.output)
        return _ordered(heads, self.others.sum(2) @ self.classes)

    def per_head_and_position(self) -> Tensor:
        """The same with a score for each position that a head reads: (B, 1 + N T + L + 1, C)."""
        heads = torch.einsum("bntd,ndc->bntc", self.heads, self.output)
        return _ordered(heads.flatten(1, 2), self.others.sum(2) @ self.classes)

    def per_position(self) -> Tensor:
        """Class scores (B, T, C) of positions: embedding, MLPs and biases at each, and what heads read there."""
        return torch.einsum("bntd,ndc->btc", self.heads, self.output) + self.others.sum(1) @ self.classes

    def per_layer(self) -> Tensor:
        """Class scores (B, 1 + L + 1, T, C): embedding, heads and MLP of each layer, biases of all attentions."""
        layers = self.others.shape[1] - 2
        heads, output = self.heads.unflatten(1, (layers, -1)), self.output.unflatten(0, (layers, -1))
        others = self.others @ self.classes
        return _ordered(torch.einsum("blhtd,lhdc->bltc", heads, output) + others[:, 1:-1], others[:, [0, -1]])

    def maps(self, target: Tensor) -> Tensor:
        """Scores of a class (B,) by component and position, (B, 1 + N + L + 1, T)."""
        heads = torch.einsum("bntd,bnd->bnt", self.heads, self.output[..., target].movedim(-1, 0))
        return _ordered(heads, torch.einsum("bmtd,bd->bmt", self.others, self.classes[:, target].T))

    def strengths(self) -> Tensor:
        """Length of the class scores by component and position; shape of `maps`."""
        heads = torch.einsum("bntd,nde,bnte->bnt", self.heads, self.output @ self.output.mT, self.heads)
        others = torch.einsum("bmtd,de,bmte->bmt", self.others, self.classes @ self.classes.mT, self.others)
        return _ordered(heads, others).clamp_min(0).sqrt()

    def relative(self) -> "Split":
        """The same of the scores less their mean over the classes, which changes no probability."""
        output, classes = (t - t.mean(-1, keepdim=True) for t in (self.output, self.classes))
        return Split(self.heads, output, self.others, classes)


def split(stream: Stream, head: nn.Linear, encoder: nn.Module) -> tuple[Split, Tensor]:
    """Splits the scores that a linear head gives to the pooled states of an encoder.

    Args:
        stream: of the encoder.
        head: from the pooled states to C classes.
        encoder: see `stream_of`.

    Returns:
        The split, and what the biases of norm and head add, (B, C).
    """
    norm, pooled_norm = final_norms(encoder)
    weight = held(stream, norm, pooled_norm)
    layers = [reads.weighted(weight) for reads in stream.reads]
    biases = sum((reads.bias for reads in stream.reads), torch.zeros_like(stream.embedding))
    others = torch.stack([stream.embedding, *stream.feeds, biases], 1) * weight[:, None, :, None]
    last = norm or pooled_norm
    shift = stream.pool.new_zeros(head.in_features) if last is None or last.bias is None else last.bias
    share = torch.ones_like(stream.pool[:, :1]) if norm is None else stream.pool.sum(1, keepdim=True)
    output, classes = directions(head, encoder)
    heads, others = stream.arranged(torch.cat(layers, 1)), stream.arranged(others)
    if not isinstance(encoder, HuggingFaceText) or encoder.pooler is None:
        return Split(heads, output, others, classes), F.linear(share * shift, head.weight, head.bias)
    pooler = encoder.pooler
    first, then = through(pooler, encoder)
    heads, others = torch.einsum("bntd,nde->bnte", heads, first), others @ then
    rest = F.linear(share * shift, pooler.weight, pooler.bias)
    total = heads.sum((1, 2)) + others.sum((1, 2)) + rest
    factor = gain(total, POOLERS[str(encoder.pooler_kind)])
    parts = Split(heads * factor[:, None, None], output, others * factor[:, None, None], classes)
    return parts, F.linear(rest * factor, head.weight, head.bias)


def gain(u: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """The factor φ(u) / u of a function with φ(0) = 0, near 0 that of a point beside it."""
    away = torch.where(u.abs() < 1e-6, 1e-6, u)
    return function(away) / away


def held(stream: Stream, norm: nn.LayerNorm | None, pooled_norm: nn.LayerNorm | None) -> Tensor:
    """Weight a_i (B, T) of each position: that of the pooling over the standard deviation of the norm, as observed."""
    if norm is not None:
        return stream.pool * scale(stream.last, norm)
    if pooled_norm is not None:
        pooled = torch.einsum("bt,btd->bd", stream.pool, stream.last)
        return stream.pool * scale(pooled, pooled_norm)[:, None]
    return stream.pool


def directions(head: nn.Linear, encoder: nn.Module) -> tuple[Tensor, Tensor]:
    """From what each head reads to the class scores, (N, d, C), and from the residual stream (D, C), without biases.

    With a pooler, the components of a `Split` are what it makes of them, so that both are the weights of the head.
    """
    if not isinstance(encoder, HuggingFaceText) or encoder.pooler is None:
        return through(head, encoder)
    return head.weight.T.expand(sum(map(len, outputs(encoder))), -1, -1), head.weight.T


def through(layer: nn.Linear, encoder: nn.Module) -> tuple[Tensor, Tensor]:
    """From what each head reads, and from the residual stream, through the final norm and a linear layer."""
    norm, pooled_norm = final_norms(encoder)
    classes = layer.weight
    if (last := norm or pooled_norm) is not None:
        classes = classes if last.weight is None else classes * last.weight
        classes = classes - classes.mean(1, keepdim=True)  # the norm takes the mean from each state
    return torch.cat(outputs(encoder)) @ classes.T, classes.T


def scale(h: Tensor, norm: nn.LayerNorm) -> Tensor:
    """1 / σ of states (..., D), as a layer norm computes it."""
    return (h.var(-1, correction=0) + norm.eps).rsqrt()


def _ordered(heads: Tensor, others: Tensor) -> Tensor:
    return torch.cat([others[:, :1], heads, others[:, 1:]], 1)
