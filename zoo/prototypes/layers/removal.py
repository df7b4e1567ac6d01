"""Removing prototypes from a model."""

from collections.abc import Iterable

from torch import Tensor


def remove(alive: Tensor, prototypes: Iterable[int]) -> None:
    """Marks prototypes as not alive, in place; their activation is 0 from then on, whatever the model learns later.

    Args:
        alive: (K,) bool.
        prototypes: their numbers.

    Raises:
        ValueError: no prototype would be left.
    """
    left = alive.clone()
    left[list(prototypes)] = False
    if not left.any():
        raise ValueError(f"all {int(alive.sum())} remaining prototypes would be removed; keep at least one.")
    alive.copy_(left)
