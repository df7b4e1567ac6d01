"""Lightning callbacks and checkpoint IO for a staged recipe: interruptible, and only the last stage competes."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.training.staged_module import StagedModule


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that a complete checkpoint exists at all times."""

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint atomically.

        Raises:
            OSError: the file could not be written; the previous checkpoint is unchanged.
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
                f"could not write the checkpoint {path} ({error}); the previous checkpoint is unchanged. "
                "Free some disk space, then resume with --ckpt_path last."
            ) from error


def in_last_stage(module: LightningModule) -> bool:
    """Whether the current epoch belongs to the last stage of the recipe; always true without a recipe."""
    return not isinstance(module, StagedModule) or module.in_last_stage


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch of the last stage of a recipe; models of earlier stages are not finished."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_validation_end(trainer, pl_module)


class LastStageStopping(EarlyStopping):
    """Early stopping within the last stage of a recipe."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_train_epoch_end(trainer, pl_module)
