"""Safetensors files, read with a clear error."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: the file has another format, such as a pickle, or is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not an intact safetensors file ({error}). Pickled weights are never loaded; save with "
            "zoo.save()."
        ) from error
