"""What `train.py` adds to the Trainer: checkpoints that survive a kill, the best epoch, predictions as a table."""

import contextlib
import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.training.staged_module import StagedModule


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the old one and then takes its place, so that one of the two is always whole."""

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike, storage_options: Any = None
    ) -> None:
        """Writes atomically.

        Raises:
            OSError: it could not be written; the older checkpoint is still there.
        """
        part = Path(f"{path}.part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as opened:
                torch.save(dict(checkpoint), opened)
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise OSError(
                f"could not write the checkpoint {path} ({error}); the one before it is untouched. "
                "Free some space, then continue with --ckpt_path last."
            ) from error


def in_last_stage(trainer: Trainer, module: LightningModule) -> bool:
    """Whether the current epoch may compete for the best checkpoint; only the last stage leaves a finished model."""
    return not isinstance(module, StagedModule) or module.in_last_stage


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch of the recipe's last stage."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(trainer, pl_module):
            super().on_validation_end(trainer, pl_module)


class LastStageStopping(EarlyStopping):
    """Stops the recipe's last stage when it no longer improves."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(trainer, pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)


class PredictionTable(BasePredictionWriter):
    """Writes predictions to a CSV as they are made: item, class, probability, score, and the unit that counted most."""

    def __init__(self, path: Path) -> None:
        super().__init__("batch")
        self.path = path

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write("w", [("item", "prediction", "probability", "score", "top_unit", "contribution")])

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
        dataset = trainer.predict_dataloaders.dataset  # pyright: ignore[reportOptionalMemberAccess]
        names = [dataset.name(i) if hasattr(dataset, "name") else i for i in batch_indices]
        rows = explained_rows(prediction) if isinstance(prediction, Explanation) else scored_rows(prediction, pl_module)
        self._write("a", [(name, *row) for name, row in zip(names, rows, strict=True)])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            print(f"predictions {self.path}")

    def _write(self, mode: str, rows: list[tuple]) -> None:
        with self.path.open(mode, newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows(rows)


def explained_rows(explanation: Explanation) -> list[tuple]:
    """For each row: class, probability, score, top unit, its contribution."""
    shares = explanation.probability
    probabilities = [""] * len(explanation) if shares is None else [f"{p:.6f}" for p in shares.tolist()]
    return [
        (name, probability, f"{score:.6f}", terms[0].unit.name, terms[0].contribution)
        for name, probability, score, terms in zip(
            explanation.target_names, probabilities, explanation.score.tolist(), explanation.top(1), strict=True
        )
    ]


def scored_rows(scores: Tensor, module: LightningModule) -> list[tuple]:
    """The same of a network that explains nothing."""
    best, target = scores.float().max(1)
    shares = scores.float().softmax(1).amax(1)
    classes = module.domain.classes
    return [
        (classes[t], f"{p:.6f}", f"{s:.6f}", "", "")
        for t, p, s in zip(target.tolist(), shares.tolist(), best.tolist(), strict=True)
    ]
