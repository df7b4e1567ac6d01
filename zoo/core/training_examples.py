"""The training examples in which each unit of a model fires most, in buffers that travel with the weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.core.running_top import TopActivating, running_top
from zoo.training.projection_set import ProjectionSet


class TrainingExamples(nn.Module):
    """The top-activating training examples of K units.

    Buffers: `value` (K, n) activations, largest first · `index` (K, n) numbers of the training examples, -1 where there
    is none · `cell` (K, n) cells of the feature map, counted row by row, -1 where there is none.

    Args:
        units: K.
        count: n.
        cells: whether the units fire on a feature map; without, there is no buffer `cell`.
    """

    value: Tensor
    index: Tensor
    cell: Tensor | None

    def __init__(self, units: int, count: int, cells: bool = True) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("value", torch.zeros(units, count))
        self.register_buffer("index", torch.full((units, count), -1))
        self.register_buffer("cell", torch.full((units, count), -1) if cells else None)

    def clear(self) -> None:
        """Removes the examples, because the units changed."""
        self.index.fill_(-1)

    def find(self, projection_set: ProjectionSet, activation: Callable[[Tensor], Tensor]) -> TopActivating:
        """Finds the examples in one pass over the training set, on all ranks.

        Args:
            projection_set: the training set, this rank's share.
            activation: from inputs (B, ...) to activations (B, K), or maps of them (B, K, h, w).

        Returns:
            The examples; fewer than n for a training set of fewer inputs.

        Raises:
            ValueError: the training set is empty.
        """
        self.clear()
        batches = ((activation(batch["input"]), batch["index"]) for batch in projection_set)
        found = running_top(batches, self.count, projection_set.world)
        if found is None:
            raise ValueError("the training set is empty, so there are no examples to show; check the data.")
        there = found.value.shape[1]
        self.value[:, :there], self.index[:, :there] = found.value, found.index
        if self.cell is not None:
            self.cell[:, :there] = found.cell
        return found

    def sources(self, unit: int) -> list[dict[str, int | float]]:
        """The examples of one unit as plain data: "index", "cell" (on a map) and "activation"."""
        value, index = self.value[unit].tolist(), self.index[unit].tolist()
        cells = [{}] * len(index) if self.cell is None else [{"cell": cell} for cell in self.cell[unit].tolist()]
        rows = zip(index, cells, value, strict=True)
        return [{"index": i, **cell, "activation": a} for i, cell, a in rows if i >= 0]
