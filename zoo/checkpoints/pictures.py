"""Buffers that hold images of the training set, which a checkpoint may have to leave out."""

from collections.abc import Mapping

import torch
from torch import Tensor

NAMES = ("picture", "pictures")


def is_picture(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state_dict holds training images: uint8 (P, C, h, w) under one of `NAMES`."""
    return name.rpartition(".")[2] in NAMES and tensor.dtype == torch.uint8 and tensor.ndim == 4


def without_pictures(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict whose pictures have no pixels, (P, C, 0, 0)."""
    return {
        name: tensor.new_zeros((*tensor.shape[:2], 0, 0)) if is_picture(name, tensor) else tensor
        for name, tensor in state.items()
    }
