"""Rows of a table as training items: kept as one number and one small code for each cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.frames import Frame
from zoo.data.base.items import Items
from zoo.data.base.table_columns import encode
from zoo.domain import TableDomain
from zoo.utils.collate import Collated


class TableRows(Items):
    """Rows that are converted to inputs a batch at a time.

    Args:
        domain: of the table.
        values: (N, K) float32, see `zoo.domain.columns.Encoded.value`.
        hot: (N, K) int16, see `Encoded.hot`.
        targets: (N,) classes, or (N, C) values.
        name: gives the name of row i.
        concepts: (N, k) in {0, 1, NaN}.
        weights: (N,) of the rows in the loss.
    """

    def __init__(
        self,
        domain: TableDomain,
        values: Tensor,
        hot: Tensor,
        targets: Tensor,
        name: Callable[[int], str],
        concepts: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.domain, self.values, self.hot, self.targets = domain, values, hot, targets
        self.find_name, self.concepts, self.weights = name, concepts, weights

    @property
    def inputs(self) -> Tensor:
        """(N, F) all inputs."""
        return self.domain.encode(self.values, self.hot)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> Collated:
        rows = torch.as_tensor(indices)
        batch = {"input": self.domain.encode(self.values[rows], self.hot[rows]), "target": self.targets[rows]}
        optional = {"concepts": self.concepts, "weight": self.weights}
        return Collated(batch | {name: values[rows] for name, values in optional.items() if values is not None})

    def name(self, i: int) -> str:
        """Name of row i: its file and line."""
        return self.find_name(i)


def encode_rows(domain: TableDomain, frame: Frame) -> tuple[Tensor, Tensor]:
    """All rows of a table as one number and one small code for each cell: values (N, K) and hot (N, K).

    Raises:
        ValueError: a cell does not fit its column; names file, line and column.
    """
    values = np.empty((len(frame.cells), len(domain.columns)), dtype=np.float32)
    hot = np.empty(values.shape, dtype=np.int16)
    for k, column in enumerate(domain.columns):
        values[:, k], hot[:, k] = encode(column, frame.column(column.source), frame)
    if not np.isfinite(values).all():
        row, k = np.argwhere(~np.isfinite(values))[0].tolist()
        name = domain.columns[k].source
        raise ValueError(f"{frame.where(row)}: '{name}' overflows when it is normalised; correct it.")
    return torch.from_numpy(values), torch.from_numpy(hot)
