"""Prototypes that can be removed from a model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable

Base = SelfInterpretable if TYPE_CHECKING else object


class Forbidding(Base):
    """Prototypes of which some may be removed: their activation is 0 from then on, whatever is learned later.

    A model calls `start_alive`, and multiplies its activations with `alive`, (K,) bool, a buffer.
    """

    alive: Tensor

    def start_alive(self, count: int) -> None:
        """All of `count` prototypes are alive."""
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number; their source then says that they are pruned.

        Raises:
            ValueError: an unknown prototype, or none would be left.
        """
        columns = [self.unit_index(unit) for unit in units]
        alive = self.alive.clone()
        alive[columns] = False
        if not alive.any():
            raise ValueError(f"all {int(self.alive.sum())} remaining prototypes would be removed; keep at least one.")
        self.alive.copy_(alive)
