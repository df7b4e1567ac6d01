"""Predictions as a CSV file, written while they are computed."""

import csv
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.training.staged_module import StagedModule

HEADER = ("item", "prediction", "probability", "score", "top_unit", "contribution")


class PredictionTable(BasePredictionWriter):
    """Writes one row for each input: item, class, probability, score and the unit with the largest contribution.

    Args:
        path: of the CSV file; an existing file is replaced.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("batch")
        self.path = path

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write("w", [HEADER])

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
        name_of = getattr(getattr(trainer.predict_dataloaders, "dataset", None), "name", str)
        names = [name_of(i) for i in batch_indices]
        if isinstance(prediction, Explanation):
            rows = explained_rows(prediction)
        else:
            assert isinstance(pl_module, StagedModule)  # what `predict` trains and loads
            rows = scored_rows(prediction, pl_module.domain.classes)
        self._write("a", [(name, *row) for name, row in zip(names, rows, strict=True)])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            print(f"predictions {self.path}")

    def _write(self, mode: str, rows: list[tuple]) -> None:
        with self.path.open(mode, newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows(rows)


def explained_rows(explanation: Explanation) -> list[tuple]:
    """Class, probability, score, top unit and its contribution, for each row of an explanation."""
    found = explanation.probability
    probabilities = [""] * len(explanation) if found is None else [f"{p:.6f}" for p in found.tolist()]
    return [
        (name, probability, f"{score:.6f}", terms[0].unit.name, terms[0].contribution)
        for name, probability, score, terms in zip(
            explanation.target_names, probabilities, explanation.score.tolist(), explanation.top(1), strict=True
        )
    ]


def scored_rows(scores: Tensor, classes: tuple[str, ...]) -> list[tuple]:
    """The same columns for scores (B, C) without an explanation; the unit and its contribution are empty."""
    best, target = scores.float().max(1)
    probabilities = scores.float().softmax(1).amax(1)
    return [
        (classes[t], f"{p:.6f}", f"{s:.6f}", "", "")
        for t, p, s in zip(target.tolist(), probabilities.tolist(), best.tolist(), strict=True)
    ]
