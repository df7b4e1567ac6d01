"""Rows of numbers in memory, as items of a data module."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zoo.data.module import Items


class Rows(Items):
    """Inputs that are tensors already, with targets and perhaps concepts.

    Args:
        inputs: (N, ...), as the domain makes them.
        targets: (N,) classes, or (N, C) values.
        names: what the items are called.
        concepts: (N, k) in {0, 1, NaN}.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, names: Sequence[str], concepts: Tensor | None = None) -> None:
        self.inputs, self.targets, self.names, self.concepts = inputs, targets, names, concepts

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = {"input": self.inputs[i], "target": self.targets[i]}
        return item if self.concepts is None else {**item, "concepts": self.concepts[i]}

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.names[i]
