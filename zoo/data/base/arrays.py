"""Rows of numbers in memory, as items of a data module."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zoo.data.base.module import Items


class Rows(Items):
    """Inputs that are tensors already, with targets and perhaps concepts.

    Args:
        inputs: (N, ...), as the domain makes them.
        targets: (N,) classes, or (N, C) values.
        names: what the items are called.
        concepts: (N, k) in {0, 1, NaN}.
        regions: (N, R, *S) in {0, 1}, which elements of each input are known to matter.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str],
        concepts: Tensor | None = None,
        regions: Tensor | None = None,
    ) -> None:
        self.inputs, self.targets, self.names = inputs, targets, names
        self.concepts, self.regions = concepts, regions

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = {"input": self.inputs[i], "target": self.targets[i]}
        known = {"concepts": self.concepts, "regions": self.regions}
        return item | {name: values[i] for name, values in known.items() if values is not None}

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.names[i]
