"""Weights in half precision or int8: how they are rounded, stored and restored. A model computes in float32.

Rounded are parameters of float32 with at least `SMALLEST` numbers; buffers, such as the curves of a table, stay as they
are. In half precision each number is rounded to the nearest; a tensor that float16 cannot hold stays float32. As int8,
tensors of two or more dimensions are stored as integers q in [-127, 127] with one scale s for each row of the first
dimension, per-channel symmetric quantisation (Krishnamoorthi: "Quantizing deep convolutional networks for efficient
inference", arXiv 1806.08342, 2018, section 2):

    s_c = max_i |w_ci| / 127,    q_ci = round(w_ci / s_c),    restored w_ci = s_c q_ci

`name::int8` holds q in the shape of the tensor, `name::scale` holds s. Zeros stay zeros and signs stay. Sparse tensors
are packed besides (`zoo.utils.sparse_tensors`); as int8 only where that is smaller.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from zoo.utils import sparse_tensors
from zoo.utils.sparse_tensors import MARK

FULL = "float32"
FORMS = (FULL, "float16", "bfloat16", "int8")
SMALLEST = 1024  # numbers of a tensor; smaller ones take no space worth a rounding
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
LEVELS = 127  # of int8, on each side of 0
INT8, SCALE = f"{MARK}int8", f"{MARK}scale"


def store(tensors: Mapping[str, Tensor], weights: Collection[str], form: str) -> dict[str, Tensor]:
    """The tensors of a model as a file holds them.

    Args:
        tensors: of a model, by name, on the CPU.
        weights: names of parameters, which may be rounded.
        form: one of `FORMS`.
    """
    stored: dict[str, dict[str, Tensor]] = {}
    for key, tensor in sparse_tensors.pack(tensors).items():
        stored.setdefault(key.partition(MARK)[0], {})[key] = tensor
    for name in sorted(stored.keys() & set(weights)):
        if (parts := shrink(name, tensors[name], form)) is not None:
            parts = sparse_tensors.pack(parts) if sparse_tensors.is_packed(stored[name]) else parts
            if nbytes(parts) < nbytes(stored[name]):
                stored[name] = parts
    return {key: tensor for parts in stored.values() for key, tensor in parts.items()}


def nbytes(tensors: Mapping[str, Tensor]) -> int:
    """Memory of tensors."""
    return sum(tensor.nbytes for tensor in tensors.values())


def shrink(name: str, tensor: Tensor, form: str) -> dict[str, Tensor] | None:
    """The parts of a rounded tensor by name; None for one that stays as it is."""
    if form == FULL or tensor.dtype != torch.float32 or tensor.numel() < SMALLEST:
        return None
    if form in HALVES:
        half = tensor.to(HALVES[form])
        return {name: half} if bool(half.isfinite().all()) else None
    if tensor.ndim < 2:
        return None
    flat = tensor.flatten(1)
    scale = flat.abs().amax(1) / LEVELS
    scale = torch.where(scale > 0, scale, 1.0)
    whole = (flat / scale[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
    return {name + INT8: whole.view(tensor.shape), name + SCALE: scale}


def restore(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file, with those of int8 restored to float32; see also `as_needed`."""
    found = {}
    for key, tensor in tensors.items():
        if key.endswith(INT8):
            name = key.removesuffix(INT8)
            found[name] = tensor.float() * tensors[name + SCALE].view(-1, *[1] * (tensor.ndim - 1))
        elif not key.endswith(SCALE):
            found[key] = tensor
    return found


def as_needed(tensors: Mapping[str, Tensor], needed: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
    """Tensors with those that are stored in half precision as float32, where a model needs that."""
    return {
        name: tensor.float() if is_rounded(tensor.dtype, needed.get(name)) else tensor
        for name, tensor in tensors.items()
    }


def is_rounded(stored: torch.dtype, needed: torch.dtype | None) -> bool:
    """Whether a type is half precision in which a weight of float32 may be stored."""
    return stored in HALVES.values() and needed == torch.float32
