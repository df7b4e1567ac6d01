"""Safetensors files, read with a clear error; what they hold is known before it is read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from zoo.utils import sparse_tensors
from zoo.utils.paths import check_file
from zoo.utils.small_tensors import INT8, SCALE

LONGEST_HEADER = 2**24  # bytes; a hundred for each tensor
DIMENSIONS = 8  # of a packed tensor, at most
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Described(NamedTuple):
    """Type and shape of a tensor.

    Attributes:
        dtype: its type.
        shape: its shape.
        packed: whether the file stores it in parts, see `zoo.utils.sparse_tensors`.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    packed: bool = False

    @property
    def nbytes(self) -> int:
        """Memory that the tensor takes."""
        size = self.dtype.itemsize
        for n in self.shape:
            size *= n
        return size

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: the file has another format, such as a pickle, or is damaged.
    """
    with _intact(path):
        return load_file(path)


def describe(path: Path) -> dict[str, Described]:
    """Types and shapes of the tensors of a safetensors file, without reading their values.

    Packed tensors are described as they were before `zoo.utils.sparse_tensors.pack`, those of int8 with a scale as
    float32, see `zoo.utils.small_tensors`.

    Raises:
        ValueError: see `read_tensors`; or a packed tensor has no readable shape, or one of int8 no scale.
    """
    found: dict[str, Described] = {}
    with _intact(path), safe_open(path, "pt") as file:
        keys = set(file.keys())
        for key in keys:
            part = file.get_slice(key)
            name, mark, kind = key.partition(sparse_tensors.MARK)
            one = Described(_dtype(part.get_dtype(), path), tuple(part.get_shape()))
            if not mark:
                found[key] = one
            elif mark + kind == INT8:
                found[name] = _whole(name, one, file.get_slice(name + SCALE) if name + SCALE in keys else None, path)
            elif kind == "values":
                shape = f"{name}{mark}shape"
                dimensions = file.get_slice(shape).get_shape() if shape in keys else []
                if len(dimensions) != 1 or not 0 < dimensions[0] <= DIMENSIONS:
                    raise ValueError(f"{path}: the sparse tensor '{name}' is damaged: it has no shape.")
                found[name] = Described(one.dtype, tuple(file.get_tensor(shape).tolist()), packed=True)
    return found


def described(tensors: Mapping[str, Tensor]) -> dict[str, Described]:
    """Types and shapes of tensors."""
    return {name: Described(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuses weights with which scores would not be finite.

    Raises:
        ValueError: names the tensor that is NaN or infinite somewhere.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"{where}: {count} of {tensor.numel()} values of '{name}' are NaN or infinite, so the model's scores "
                "would be, too. Train the model again, with a smaller learning rate if it diverged."
            )


def _whole(name: str, whole: Described, scale: Any, path: Path) -> Described:
    """A tensor that is stored as int8 and a scale for each row."""
    rows = None if scale is None else (_dtype(scale.get_dtype(), path), tuple(scale.get_shape()))
    if whole.dtype != torch.int8 or len(whole.shape) < 2 or rows != (torch.float32, whole.shape[:1]):
        raise ValueError(f"{path}: the tensor '{name}' is damaged: it needs int8 and a scale for each row.")
    return Described(torch.float32, whole.shape)


def _dtype(name: str, path: Path) -> torch.dtype:
    if name not in DTYPES:
        raise ValueError(f"{path} has a tensor of type {name}, which no model has. Get the file again.")
    return DTYPES[name]


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Checks the length of the header, and turns errors of the library into a ValueError.

    Raises:
        ValueError: see `read_tensors`.
    """
    check_file(path, "safetensors file")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(LONGEST_HEADER, path.stat().st_size - 8):
        raise ValueError(
            f"{path} is not an intact safetensors file (a header of {header:,} bytes in a file of "
            f"{path.stat().st_size:,}). Pickled weights are never loaded; save with zoo.save()."
        )
    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not an intact safetensors file ({error}). Pickled weights are never loaded; save with "
            "zoo.save()."
        ) from error
