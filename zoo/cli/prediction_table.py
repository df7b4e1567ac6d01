"""Predictions as a CSV file: every process writes its part while it predicts, the first joins them by item."""

import csv
import heapq
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TextIO

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from zoo.cli.prediction_rows import header, labels_of, rows_of
from zoo.core.explanation import Explanation
from zoo.training.batch import as_batch
from zoo.training.staged_module import StagedModule


class PredictionTable(BasePredictionWriter):
    """Writes one row for each input, in the order of the data, see `zoo.cli.prediction_rows`.

    Args:
        path: of the CSV file; an existing file is replaced when the new one is complete.
        top: number of units with the largest contributions to add to each row.
    """

    def __init__(self, path: Path, top: int = 0) -> None:
        super().__init__("batch")
        self.path, self.top = path, top
        self.part = path
        self.open = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.part = self._part(trainer.global_rank)
        file = self.open.enter_context(opened(self.part, "w"))
        self.writer = csv.writer(file)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Explanation | Tensor,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        domain = module_of(pl_module).domain
        name_of = getattr(getattr(trainer.predict_dataloaders, "dataset", None), "name", str)
        target = None if isinstance(batch, Tensor) else as_batch(batch).get("target")
        rows = zip(
            batch_indices,
            labels_of(target, len(batch_indices), domain),
            rows_of(prediction, domain, self.top),
            strict=True,
        )
        self.writer.writerows([i, name_of(i), *label, *row] for i, label, row in rows)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.open.close()
        trainer.strategy.barrier("predictions")  # all parts are complete
        if trainer.is_global_zero:
            self._join(trainer.world_size, header(module_of(pl_module).domain, self.top))
            print(f"predictions {self.path}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.open.close()
        if self.part != self.path:
            self.part.unlink(missing_ok=True)

    def _part(self, rank: int | str) -> Path:
        return self.path.with_name(f".{self.path.name}.{rank}")

    def _join(self, world: int, head: list[str]) -> None:
        parts, whole = [self._part(rank) for rank in range(world)], self._part("part")
        with ExitStack() as stack:
            files = [stack.enter_context(opened(part, "r")) for part in parts]
            writer = csv.writer(stack.enter_context(opened(whole, "w")))
            writer.writerow(head)
            writer.writerows(without_repeats(heapq.merge(*map(csv.reader, files), key=lambda row: int(row[0]))))
        os.replace(whole, self.path)
        for part in parts:
            part.unlink()


def opened(path: Path, mode: Literal["r", "w"]) -> TextIO:
    """A CSV file; names of items may hold any bytes, as names of files do."""
    return path.open(mode, newline="", encoding="utf-8", errors="surrogateescape")


def without_repeats(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows without their first cell, the number of the item; samplers repeat items to give every process as many."""
    last = None
    for number, *row in rows:
        if number != last:
            yield row
        last = number


def module_of(module: LightningModule) -> StagedModule:
    """The module as one of the library, which has a domain.

    Raises:
        TypeError: it is another one.
    """
    if not isinstance(module, StagedModule):
        raise TypeError(f"predictions are written for models of the zoo; got {type(module).__name__}.")
    return module
