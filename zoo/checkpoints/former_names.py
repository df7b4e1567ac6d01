"""Weights that have another name in older checkpoints than in the model."""

from collections.abc import Container, Mapping

from torch import Tensor

from zoo.utils.sparse_tensors import MARK


def current_weights(
    tensors: Mapping[str, Tensor], needed: Container[str], former: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors of a checkpoint under their present names.

    Args:
        tensors: as stored; a name may end in the part of a sparse tensor.
        needed: the names in the state of the model; they are never changed.
        former: prefixes in older checkpoints -> present prefixes; the first that fits counts.
    """
    return {_current(name, needed, former): tensor for name, tensor in tensors.items()}


def _current(name: str, needed: Container[str], former: Mapping[str, str]) -> str:
    weight, mark, part = name.partition(MARK)
    if weight in needed:
        return name
    for old, new in former.items():
        if weight == old or weight.startswith(f"{old}."):
            return new + weight.removeprefix(old) + mark + part
    return name
