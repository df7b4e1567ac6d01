"""What the attention heads and MLPs of a transformer write to its residual stream, read from a forward pass.

    h = embedding + Σ_layers (Σ_heads P V W_O + b_O + MLP)      (B, T, D)
    features = pooled norm(h), or norm of pooled h              (B, D)

Nothing of the network is changed: its modules are called, and its weights are read.
"""

import torch
from torch import Tensor, nn

from zoo.domain.text import PAD
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.post_norm import last_layer_norm, last_layer_output, last_layer_stream
from zoo.networks.stream import Reads, Stream
from zoo.networks.text_encoders import TextTransformer
from zoo.networks.timm_blocks import pools_itself, timm_network


def stream_of(encoder: nn.Module, x: Tensor) -> Stream:
    """Runs a transformer on inputs of its domain, as in evaluation mode, and keeps what its layers write.

    Args:
        encoder: one that `zoo.networks.timm_blocks.check_transformer` accepts.
        x: inputs.
    """
    if isinstance(encoder, TextTransformer):
        return _text_stream(encoder, x)
    if isinstance(encoder, HuggingFaceText):
        return last_layer_stream(encoder, x)
    network = timm_network(encoder)
    h = embedding = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(x))))
    reads, feeds = [], []
    for block, output in zip(network.blocks, outputs(encoder), strict=True):
        attention = block.attn
        query, key, value = _heads(attention.qkv(block.norm1(h)), attention.num_heads)
        bias = block.ls1(torch.zeros_like(h[0, 0]) if attention.proj.bias is None else attention.proj.bias)
        reads.append(Reads(attention.q_norm(query), attention.k_norm(key), value, None, output, bias))
        h = h + reads[-1].written()
        feeds.append(block.ls2(block.mlp(block.norm2(h))))
        h = h + feeds[-1]
    return Stream(embedding, tuple(reads), tuple(feeds), h, _image_pool(encoder, h))


def outputs(encoder: nn.Module) -> list[Tensor]:
    """For each layer of the stream, what its heads write of their values: (H, d, D)."""
    if isinstance(encoder, TextTransformer):
        return [block.out.weight.T.unflatten(0, (block.heads, -1)) for block in encoder.layers]
    if isinstance(encoder, HuggingFaceText):
        return [last_layer_output(encoder)]
    blocks = timm_network(encoder).blocks
    return [block.ls1(block.attn.proj.weight.T).unflatten(0, (block.attn.num_heads, -1)) for block in blocks]


def _text_stream(encoder: TextTransformer, x: Tensor) -> Stream:
    words = x != PAD
    h = embedding = encoder.embedding(x) + encoder.position
    reads, feeds = [], []
    for block, output in zip(encoder.layers, outputs(encoder), strict=True):
        query, key, value = _heads(block.qkv(block.norms[0](h)), block.heads)
        reads.append(Reads(query, key, value, words, output, block.out.bias))
        h = h + reads[-1].written()
        feeds.append(block.feed(block.norms[1](h)))
        h = h + feeds[-1]
    here = torch.ones_like(words) if encoder.pooling == "padded" else words
    pool = here / here.sum(1, keepdim=True).clamp_min(1).to(h.dtype)
    return Stream(embedding, tuple(reads), tuple(feeds), h, pool)


def _heads(projected: Tensor, heads: int) -> Tensor:
    """Queries, keys and values (3, B, H, T, d) from their joint projection (B, T, 3 H d)."""
    return projected.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)


def _image_pool(encoder: nn.Module, h: Tensor) -> Tensor:
    network, pool = timm_network(encoder), torch.zeros_like(h[..., 0])
    own = pools_itself(encoder)
    if own and network.global_pool == "token":
        pool[:, 0] = 1
        return pool
    first = 0 if own and network.pool_include_prefix else network.num_prefix_tokens
    pool[:, first:] = 1 / (h.shape[1] - first)
    return pool


def final_norms(encoder: nn.Module) -> tuple[nn.LayerNorm | None, nn.LayerNorm | None]:
    """The norms before and after the pooling; None where there is none."""
    if isinstance(encoder, TextTransformer):
        return encoder.norm, None
    if isinstance(encoder, HuggingFaceText):
        return last_layer_norm(encoder), None
    network = timm_network(encoder)
    return _layer_norm(network.norm), _layer_norm(network.fc_norm) if pools_itself(encoder) else None


def _layer_norm(module: object) -> nn.LayerNorm | None:
    return module if isinstance(module, nn.LayerNorm) else None
