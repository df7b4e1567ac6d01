"""Compact storage of sparse tensors: the non-zero values, and their positions as gaps or as a bit mask.

A tensor `name` is stored as `name::shape`, `name::values` (compared by bits, so -0.0 is a value) and one of
- `name::gaps`, uint8 or uint16: the number of zeros before each value; the maximum of the type M means M zeros that
  no value follows;
- `name::bits`, uint8: one bit per entry, least significant bit first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1024  # smaller tensors are stored as they are
LARGEST = 2**28  # bytes of all tensors of a file that are packed, so that no small file can fill the memory
WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
PARTS = ("shape", "values", "gaps", "bits")
MARK = "::"


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts each tensor that takes at most half of its space in parts; the others are returned unchanged.

    Tensors that together would exceed `LARGEST` are returned unchanged, too.
    """
    packed: dict[str, Tensor] = {}
    room = LARGEST
    for name, tensor in tensors.items():
        parts = _pack(tensor) if _may_be_packed(tensor) and tensor.nbytes <= room else None
        room -= 0 if parts is None else tensor.nbytes
        packed |= {name: tensor} if parts is None else {name + MARK + part: t for part, t in parts.items()}
    return packed


def unpack(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], path: Path) -> dict[str, Tensor]:
    """Restores the tensors that were given to `pack`.

    Args:
        tensors: output of `pack`.
        shapes: expected shape of each tensor. A packed tensor of another shape or name is returned on the device
            "meta", without data, so that a damaged shape cannot exhaust the memory.
        path: file that the tensors were read from, for error messages.

    Raises:
        ValueError: parts of a tensor are missing or inconsistent.
    """
    whole = {name: tensor for name, tensor in tensors.items() if MARK not in name}
    for name in sorted({name.partition(MARK)[0] for name in tensors if MARK in name}):
        parts = {key.partition(MARK)[2]: t for key, t in tensors.items() if key.startswith(name + MARK)}
        try:
            if name in whole:
                raise ValueError("it is stored both whole and in parts")
            whole[name] = _unpack(parts, shapes.get(name))
        except ValueError as error:
            raise ValueError(f"{path}: the sparse tensor '{name}' is damaged: {error}. Get the file again.") from error
    return whole


def is_packed(tensors: Mapping[str, Tensor]) -> bool:
    """Returns whether any tensor is stored in parts."""
    return any(MARK in name for name in tensors)


def _may_be_packed(tensor: Tensor) -> bool:
    known = tensor.is_floating_point() and tensor.element_size() in WORDS and tensor.layout == torch.strided
    return known and tensor.numel() >= SMALLEST


def _pack(tensor: Tensor) -> dict[str, Tensor] | None:
    flat = tensor.detach().cpu().contiguous().flatten()
    there = flat.view(WORDS[flat.element_size()]) != 0
    dense, values = flat.numel() * flat.element_size(), int(there.count_nonzero()) * flat.element_size()
    if 2 * values > dense:
        return None
    position = there.nonzero()[:, 0]
    positions = {"bits": torch.from_numpy(np.packbits(there.numpy(), bitorder="little"))}
    gaps = torch.diff(position, prepend=position.new_tensor([-1])) - 1
    for kind in (torch.uint8, torch.uint16):
        if int((gaps // torch.iinfo(kind).max).sum()) + len(gaps) < dense:  # an upper bound of the codes
            positions[str(kind)] = _encode(gaps, kind)
    best = min(positions, key=lambda way: positions[way].nbytes)
    if 2 * (values + positions[best].nbytes) > dense:
        return None
    shape = torch.tensor(tensor.shape, dtype=torch.int64)
    return {"shape": shape, "values": flat[position], "bits" if best == "bits" else "gaps": positions[best]}


def _encode(gaps: Tensor, kind: torch.dtype) -> Tensor:
    most = torch.iinfo(kind).max
    last = (gaps // most + 1).cumsum(0) - 1  # index of the code of each value; the codes between them only skip zeros
    codes = torch.full((int(last[-1]) + 1 if len(last) else 0,), most, dtype=torch.int64)
    codes[last] = gaps % most
    return codes.to(kind)


def _unpack(parts: Mapping[str, Tensor], expected: Sequence[int] | None) -> Tensor:
    if set(parts) not in ({"shape", "values", "gaps"}, {"shape", "values", "bits"}):
        raise ValueError(f"it has the parts {', '.join(sorted(parts))}; expected shape, values and gaps or bits")
    shape, values = parts["shape"], parts["values"]
    if shape.dtype != torch.int64 or shape.ndim != 1 or bool((shape < 0).any()):
        raise ValueError(f"its shape is {shape.tolist()} of {shape.dtype}")
    if values.ndim != 1 or not values.is_floating_point() or values.element_size() not in WORDS:
        raise ValueError(f"its values are {values.dtype} {tuple(values.shape)}")
    size = tuple(shape.tolist())
    if expected is None or tuple(expected) != size:
        return torch.empty(size, dtype=values.dtype, device="meta")
    entries = int(np.prod(size))
    position = _from_bits(parts["bits"], entries) if "bits" in parts else _from_gaps(parts["gaps"], entries)
    if len(position) != len(values):
        raise ValueError(f"it has {len(values)} values and {len(position)} positions")
    tensor = torch.zeros(entries, dtype=values.dtype)
    tensor[position] = values
    return tensor.view(size)


def _from_bits(bits: Tensor, entries: int) -> Tensor:
    if bits.dtype != torch.uint8 or bits.shape != (-(-entries // 8),):
        raise ValueError(f"its {entries} entries cannot have the bits {bits.dtype} {tuple(bits.shape)}")
    position = torch.from_numpy(np.flatnonzero(np.unpackbits(bits.numpy(), bitorder="little")))
    if len(position) and position[-1] >= entries:
        raise ValueError(f"a position is {int(position[-1])}, of {entries} entries")
    return position


def _from_gaps(codes: Tensor, entries: int) -> Tensor:
    if codes.dtype not in (torch.uint8, torch.uint16) or codes.ndim != 1:
        raise ValueError(f"its gaps are {codes.dtype} {tuple(codes.shape)}")
    most, codes = torch.iinfo(codes.dtype).max, codes.long()
    found = codes < most
    position = ((codes + found).cumsum(0) - 1)[found]
    if len(codes) and (not found[-1] or position[-1] >= entries):
        raise ValueError(f"its last position is {int((codes + found).sum()) - 1}, of {entries} entries")
    return position
