"""Small bridged networks: independent ones, and equivalent ones whose bridges are known."""

import copy
from typing import Any

import torch

from tests.circuits.tokens import LENGTH, transformer
from tests.small_code import code_domain
from zoo.circuits import BridgedTransformer

ALL = {"density": 1.0, "activation_density": 1.0}
SPARSE = {"width": 32, "layers": 2, "head_width": 8, "sparsity": {"density": 0.25}}
DENSE = {"width": 24, "layers": 2, "head_width": 8, "sparsity": ALL, "weights": None}


def bridged(dense: dict[str, Any] | None = None, sparse: dict[str, Any] | None = None, **options) -> BridgedTransformer:
    """Two untrained networks of different width, with weights large enough for a test."""
    torch.manual_seed(1)
    model = BridgedTransformer(code_domain(LENGTH), {**DENSE, **(dense or {})}, {**SPARSE, **(sparse or {})}, **options)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(1 if "norm" in name else 5)
    return model.eval()


def equivalent(scale: float = 1.0) -> BridgedTransformer:
    """Two networks that compute the same, and the bridges between them; the dense stream is `scale` times larger.

    The gains of the norms differ too, which the matrices after them compensate.
    """
    model = bridged({"width": 32}, {"sparsity": ALL})
    model.sparse.network.load_state_dict(transformer(**ALL).network.state_dict())
    model.dense.load_state_dict(copy.deepcopy(model.sparse.network.state_dict()))
    with torch.no_grad():
        dense = model.dense
        dense.embedding.weight.mul_(scale)
        for block in dense.blocks:
            for writer in (block.out, block.down):
                writer.weight.mul_(scale)
                writer.bias.mul_(scale)
            for norm, reader in ((block.attn_norm, block.qkv), (block.mlp_norm, block.up)):
                gain = 0.5 + torch.rand(32)
                norm.weight.mul_(gain)
                reader.weight.div_(gain)
        for encoder, decoder in zip(model.encoders, model.decoders, strict=True):
            encoder.weight.copy_(torch.eye(32) / scale)
            decoder.weight.copy_(torch.eye(32) * scale)
            encoder.bias.zero_()
            decoder.bias.zero_()
    return model
