"""Lightning callbacks and checkpoint IO for a staged recipe: interruptible, and only the last stage competes."""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
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
        except BaseException as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if not isinstance(error, OSError | RuntimeError):  # torch reports a full disk as a RuntimeError
                raise
            raise OSError(
                f"could not write the checkpoint {path} ({error}); the previous checkpoint is unchanged. "
                "Free some disk space, then resume with --ckpt_path last."
            ) from error

    def load_checkpoint(self, path: str | os.PathLike, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads a checkpoint, of plain data and tensors only.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged.
        """
        return _read(path, mmap=False)  # also the bare weights that Lightning gets from processes that it spawned


def read_checkpoint(path: str | os.PathLike, mmap: bool = False) -> dict[str, Any]:
    """The content of a Lightning checkpoint.

    Args:
        path: of the file.
        mmap: read its tensors when they are used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not such a checkpoint.
    """
    content = _read(path, mmap)
    if "state_dict" not in content:
        raise ValueError(f"{path} is not a checkpoint of Lightning; give a file that `train.py fit` has written.")
    return content


def _read(path: str | os.PathLike, mmap: bool) -> dict[str, Any]:
    """A mapping of plain data and tensors."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (EOFError, RuntimeError, ValueError, LookupError, UnpicklingError) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than plain data and tensors ({type(error).__name__}). Give another "
            "file with --ckpt_path FILE, or train again with --overwrite true."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a checkpoint of Lightning; give a file that `train.py fit` has written.")
    return content


def in_last_stage(module: LightningModule) -> bool:
    """Whether the current epoch belongs to the last stage of the recipe; always true without a recipe."""
    return not isinstance(module, StagedModule) or module.in_last_stage


class LastCheckpoint(ModelCheckpoint):
    """Keeps the last epoch; a class of its own, so that a `ModelCheckpoint` of the user has its own state beside it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores nothing: the file has one name, and there is no value to compare."""


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch of the last stage of a recipe; models of earlier stages are not finished."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best value so far, if the folder, which may have been moved, holds the file of that epoch."""
        file = Path(self.dirpath or "", "best.ckpt")
        if file.is_file() and state_dict["best_model_score"] is not None:
            own = str(file)
            paths = {"best_model_path": own, "kth_best_model_path": own, "dirpath": self.dirpath}
            super().load_state_dict({**state_dict, **paths, "best_k_models": {own: state_dict["best_model_score"]}})


class BestWeights(Callback):
    """Keeps the weights of the best epoch of the last stage in memory, and gives them to the model at the end."""

    def __init__(self) -> None:
        self.value, self.weights = math.inf, None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or not in_last_stage(pl_module):
            return
        value = float(trainer.callback_metrics.get("monitor", math.inf))
        if self.weights is None or value < self.value:
            self.value = math.inf if math.isnan(value) else value
            self.weights = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.weights is not None:
            pl_module.load_state_dict(self.weights)


def restore_best(module: LightningModule, folder: Path) -> bool:
    """Loads the weights of best.ckpt in the folder of a fit; returns whether there is one.

    Raises:
        ValueError: the file is damaged.
    """
    best = folder / "best.ckpt"
    if best.exists():  # without it nothing was validated, or the fit ended before the last stage
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    return best.exists()


class LastStageStopping(EarlyStopping):
    """Early stopping within the last stage of a recipe."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_last_stage(pl_module):
            super().on_train_epoch_end(trainer, pl_module)
