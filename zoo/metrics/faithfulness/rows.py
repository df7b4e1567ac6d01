"""Data for the faithfulness metrics: numbered batches, reference inputs, and factors of synthetic benchmarks."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness.error_control import RemoveFactor
from zoo.metrics.faithfulness.streams import uniform
from zoo.training.batch import as_batch
from zoo.utils.collate import collate

REFERENCES = 256  # training inputs for means, draws and covariances


def reference_inputs(dataset: Any, count: int = REFERENCES) -> Tensor:
    """At most `count` inputs (M, *shape) at equal distances through a data set."""
    size = len(dataset)
    rows = torch.linspace(0, size - 1, min(count, size)).long().unique().tolist()
    return torch.stack([as_batch(dataset[i])["input"] for i in rows])


def factors_of(data: DataModule, split: str) -> tuple[tuple[str, ...], RemoveFactor | None]:
    """The factors of a synthetic benchmark, and the function that generates inputs without one; none of other data."""
    generate: Any = getattr(data, "interventions", None)
    if generate is None:
        return (), None
    factors: Any = getattr(data, "factors", ())
    return tuple(factors), lambda ids, factor: generate(split, ids.tolist(), [factor])


class NumberedBatches:
    """Batches with the "ids" of their rows: of all rows, or of `limit` random rows that depend on their number alone.

    Args:
        dataset: with dicts as items.
        limit: number of rows; None for all.
        batch_size: rows a batch.
    """

    def __init__(self, dataset: Dataset, limit: int | None, batch_size: int) -> None:
        size = len(dataset)  # pyright: ignore[reportArgumentType]  # a Dataset of torch does not declare its length
        self.rows = torch.arange(size)
        if limit is not None and limit < size:
            self.rows = uniform(torch.zeros(1, dtype=torch.long), size, 0, "rows")[0].argsort()[:limit].sort().values
        self.dataset, self.batch_size = dataset, batch_size
        self.loader = DataLoader(Subset(dataset, self.rows.tolist()), batch_size, collate_fn=collate)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        at = 0
        for batch in map(as_batch, self.loader):
            count = len(batch["input"])
            yield dict(batch) | {"ids": self.rows[at : at + count]}
            at += count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """The batch of this number."""
        ids = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        (batch,) = DataLoader(Subset(self.dataset, ids.tolist()), len(ids), collate_fn=collate)
        return dict(as_batch(batch)) | {"ids": ids}
