"""The last layer of an encoder with norms after its layers, as a sum of what its heads and MLP write.

    u = h + Σ_heads P V W_O + b_O,  v = norm_1(u),  states = norm_2(v + MLP(v))        (B, T, D)

h are the states of the layer before. With the scale of norm_1 held as it was, v is a sum over h and the heads too.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain.text import PAD
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.stream import Reads, Stream

LAYOUT = ("bert", "camembert", "electra", "roberta", "xlm-roberta")  # model types whose layers are those of BERT


def last_layer(encoder: HuggingFaceText) -> Any:
    """The last layer of the network, a `BertLayer` or one like it."""
    return encoder.network.encoder.layer[-1]


def last_layer_norm(encoder: HuggingFaceText) -> nn.LayerNorm:
    """The norm after the last layer."""
    return last_layer(encoder).output.LayerNorm


def last_layer_output(encoder: HuggingFaceText) -> Tensor:
    """From the values of the last layer's heads to the states after its first norm, up to that scale: (H, d, D)."""
    block = last_layer(encoder).attention
    return _centred(block.output.dense.weight.T, block.output.LayerNorm).unflatten(0, (_heads(encoder), -1))


def last_layer_stream(encoder: HuggingFaceText, x: Tensor) -> Stream:
    """The last layer's stream, whose embedding is the part of its input; special tokens come first.

    Args:
        encoder: of a model type in `LAYOUT`, pooled over the words or at the first special token.
        x: token numbers (B, T).
    """
    inputs, behind = encoder.inputs(x)
    h = encoder.network(**inputs, output_hidden_states=True).hidden_states[-2]
    layer, seen = last_layer(encoder), inputs["attention_mask"].bool()
    block, norm = layer.attention, layer.attention.output.LayerNorm
    projections = (block.self.query, block.self.key, block.self.value)
    query, key, value = (p(h).unflatten(2, (_heads(encoder), -1)).transpose(1, 2) for p in projections)
    plain = Reads(query, key, value, seen, block.output.dense.weight.T.unflatten(0, (_heads(encoder), -1)), h[0, 0] * 0)
    scale = ((h + plain.written() + block.output.dense.bias).var(2, correction=0) + norm.eps).rsqrt()
    bias = scale[..., None] * _centred(block.output.dense.bias, norm) + norm.bias
    reads = Reads(query, key, value, seen, last_layer_output(encoder), bias, scale)
    embedding = scale[..., None] * _centred(h, norm)
    v = embedding + reads.written()
    feed = layer.output.dense(layer.intermediate(v))
    words, first = x != PAD, len(encoder.before)
    pool = torch.zeros_like(scale)
    if encoder.pooling == "first":
        pool[:, 0] = 1
    else:
        pool[:, first : first + x.shape[1]] = words / words.sum(1, keepdim=True).clamp_min(1).to(h.dtype)
    columns = torch.arange(first + x.shape[1], device=x.device).expand(len(x), -1)
    special = torch.cat([columns[:, :first], behind], 1)
    shown = torch.cat([torch.ones_like(special, dtype=torch.bool), words], 1)
    order = torch.cat([special, columns[:, first:]], 1)
    return Stream(embedding, (reads,), (feed,), v + feed, pool, order, shown)


def _heads(encoder: HuggingFaceText) -> int:
    return encoder.network.config.num_attention_heads


def _centred(values: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Values (..., D) less their mean, times the norm's gain."""
    return (values - values.mean(-1, keepdim=True)) * norm.weight
