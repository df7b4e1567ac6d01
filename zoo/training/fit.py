"""Training from Python: what `train.py fit` does to a model, without the folder of a run."""

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import CSVLogger

from zoo.training.callbacks import (
    AtomicCheckpointIO,
    BestCheckpoint,
    BestWeights,
    LastCheckpoint,
    LastStageStopping,
    restore_best,
)
from zoo.training.progress import LineProgress
from zoo.training.quiet import quiet
from zoo.training.seeding import seeded
from zoo.training.staged_module import StagedModule

if TYPE_CHECKING:  # loading a model loads no data
    from zoo.data.base.module import DataModule


def fit(
    model: StagedModule,
    data: "DataModule",
    *,
    seed: int = 0,
    test: bool = False,
    patience: int = 20,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    **trainer: Any,
) -> dict[str, float | None]:
    """Trains a model by its recipe, and gives it the weights of the best epoch of the last stage.

    The best epoch is the one with the lowest validation loss. Nothing is written, unless `folder` is given; to save
    the model, call `zoo.save(model, path)`. The random numbers of the rest of the program stay as they were.

    Args:
        model: is trained in place. Its first weights were drawn when it was created: call
            `lightning.seed_everything(seed)` before that to repeat a training exactly.
        data: to train on; the model must have been created with `data.domain`.
        seed: of all random numbers of the training.
        test: also compute the metrics of the test data.
        patience: epochs without improvement after which the last stage ends.
        folder: for last.ckpt and best.ckpt of Lightning, and for the losses and metrics of each epoch in logs/.
        resume: go on from the last.ckpt in `folder`, with the same model and data.
        progress: show the progress: a bar on a terminal, else a line every ten seconds.
        **trainer: arguments of `lightning.Trainer`, such as `accelerator="cpu"` or `precision="bf16-mixed"`. One device
            is used by default.

    Returns:
        the metrics of the validation data, such as "val/accuracy", and of the test data, such as "test/accuracy", of
        the restored weights; None for an undefined one, such as the AUROC of a single class.

    Raises:
        FileExistsError: `folder` holds a last.ckpt, and `resume` is not given.
        FileNotFoundError: there is no last.ckpt to resume from.
        ValueError: the recipe does not fit the model or the data, there are no training batches, or `resume` without
            a folder.
        KeyboardInterrupt: the training was interrupted; the model keeps the weights it has, `folder` the last epoch.
    """
    place = None if folder is None else Path(folder)
    last = _resume_path(place, resume)
    validated = has_validation(data, trainer.get("limit_val_batches"))
    callbacks = [*trainer.pop("callbacks", ()), *fit_callbacks(patience, place, validated)]
    if progress and not sys.stdout.isatty():
        callbacks.append(LineProgress())
    options: dict[str, Any] = {
        "max_epochs": model.max_epochs,
        "devices": 1,
        "logger": False if place is None else CSVLogger(str(place), "logs"),
        "plugins": [AtomicCheckpointIO()],
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_progress_bar": progress,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    with seeded(seed), quiet(), _detached(model, data):
        made = Trainer(**options | trainer, callbacks=callbacks)
        with _keyboard_interrupts():
            made.fit(model, datamodule=data, ckpt_path=last, weights_only=True)
        if not made.fit_loop.epoch_progress.total.ready:
            raise ValueError("nothing was trained: there are no training batches; check the data and batch_size.")
        if place is not None:
            restore_best(model, place)
        metrics: dict[str, float | None] = {}
        if validated:  # for two classes, this also chooses the threshold of the test
            made.validate(model, datamodule=data, verbose=False)
            metrics |= {f"val/{name}": value for name, value in metrics_of(made, "val").items()}
        if test:
            made.test(model, datamodule=data, verbose=False)
            metrics |= {f"test/{name}": value for name, value in metrics_of(made, "test").items()}
    model.eval()
    return metrics


def fit_callbacks(patience: int, folder: Path | None, validated: bool = True) -> list[Callback]:
    """Early stopping in the last stage, and what keeps its best epoch.

    Args:
        patience: epochs without improvement after which the last stage ends.
        folder: for best.ckpt and last.ckpt; None keeps the best weights in memory.
        validated: whether there are validation data; without them, there is no best epoch.
    """
    options: dict[str, Any] = {"dirpath": str(folder), "enable_version_counter": False}
    stop = LastStageStopping("monitor", mode="min", patience=patience)
    if folder is None:
        return [stop, BestWeights()] if validated else []
    last = LastCheckpoint(**options, filename="last", save_on_train_epoch_end=True)
    best = BestCheckpoint(**options, filename="best", monitor="monitor", mode="min", save_on_train_epoch_end=False)
    return [stop, best, last] if validated else [last]


def has_validation(data: "DataModule", limit: float | None = None) -> bool:
    """Whether a fit validates its epochs.

    Args:
        data: of the fit.
        limit: `limit_val_batches` of the Trainer.
    """
    return limit != 0 and len(data.val_dataset()) > 0


def metrics_of(trainer: Trainer, split: str) -> dict[str, float | None]:
    """The metrics that a Trainer logged for a split, by name; None for an undefined one."""
    found = {k.partition("/")[2]: v.item() for k, v in trainer.callback_metrics.items() if k.startswith(f"{split}/")}
    named = {name: value for name, value in sorted(found.items()) if not name.startswith("loss")}
    return {name: value if math.isfinite(value) else None for name, value in named.items()}


def _resume_path(folder: Path | None, resume: bool) -> Path | None:
    """The checkpoint to resume from; None for a new training."""
    if folder is None:
        if resume:
            raise ValueError("resume needs the folder of the interrupted training; give folder.")
        return None
    last = folder / "last.ckpt"
    if resume and not last.is_file():
        raise FileNotFoundError(f"there is no {last} to resume from; leave out resume.")
    if last.is_file() and not resume:
        raise FileExistsError(f"{folder} holds a training already; give resume=True, or another folder.")
    return last if resume else None


@contextmanager
def _detached(model: StagedModule, data: "DataModule") -> Iterator[None]:
    """Removes the Trainer from model and data at the end, so that they can be copied."""
    try:
        yield
    finally:
        model.trainer = None
        data.trainer = None


@contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Raises KeyboardInterrupt where Lightning exits from Python, and handles SIGINT as before."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            if main:
                signal.signal(signal.SIGINT, before)
            raise KeyboardInterrupt from None
        raise
