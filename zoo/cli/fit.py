"""`train.py fit`: trains a model, tests it, and writes metrics and checkpoint."""

import sys
import warnings
from pathlib import Path

import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from zoo.cli.begin import begin, resume_path
from zoo.cli.finish import finish
from zoo.cli.run_folder import ends_on_sigterm, first_process, locked
from zoo.cli.run_settings import folder_of, settings_of
from zoo.cli.settings import Settings
from zoo.cli.training_run import build_data, build_model, make_trainer, plain_errors
from zoo.data.base.module import DataModule
from zoo.training.cached_features import CachedFeatures
from zoo.training.callbacks import LastStageStopping
from zoo.training.fit import fit_callbacks, has_validation


def fit(arguments: list[str]) -> int:
    """Trains a model from a config, tests its best epoch, and writes metrics.json and the checkpoint.

    The folder of the run also holds the config with all defaults, the log, a record of config and data, and last.ckpt,
    from which `--ckpt_path last` resumes an interrupted run.
    """
    settings = settings_of(arguments, "fit")
    if settings is None:
        return 0
    folder = folder_of(settings)
    if settings.trainer.arguments.fast_dev_run:  # tries a few batches, and leaves nothing
        with plain_errors():
            data = build_data(settings)
            make_trainer(settings, logger=False).fit(build_model(settings, data), datamodule=data)
        return 0
    with locked(folder), ends_on_sigterm(), plain_errors():
        try:
            train(settings, folder)
        except SystemExit:  # by SIGTERM or Ctrl-C
            if first_process():
                print(after_interruption(folder), file=sys.stderr)
            raise
    if (
        dist.is_available() and dist.is_initialized()
    ):  # what follows, such as the report of `convert`, is of one process
        dist.destroy_process_group()
    return 0


def train(settings: Settings, folder: Path) -> None:
    """Trains, and finishes the run.

    Raises:
        FileNotFoundError, FileExistsError: see `resume_path`.
        ValueError: config or data are not those of the run that is resumed.
    """
    resumed = resume_path(settings, folder)
    data = build_data(settings)
    model = build_model(settings, data)
    fitted = CachedFeatures(data, model, folder) if settings.run.cache_features else data
    logger = CSVLogger(str(folder), "logs")
    trainer = make_trainer(settings, callbacks(settings, data, folder), max_epochs=model.max_epochs, logger=logger)
    if trainer.max_epochs != model.max_epochs:
        warnings.warn(
            f"trainer.max_epochs is {trainer.max_epochs}, but the recipe has {model.max_epochs} epochs.", stacklevel=2
        )
    if first_process():
        begin(settings, model, data, folder, resumed)
    trainer.fit(model, datamodule=fitted, ckpt_path=resumed, weights_only=True)
    # Processes that Lightning spawned counted their epochs themselves; what they leave is on the disk.
    if not trainer.fit_loop.epoch_progress.total.ready and not (folder / "last.ckpt").exists():
        raise ValueError("nothing was trained: there are no training batches; check the data and limit_train_batches.")
    if not trainer.interrupted:
        finish(trainer, model, data, folder)


def callbacks(settings: Settings, data: DataModule, folder: Path) -> list[Callback]:
    """Early stopping, and checkpoints of the best and of the last epoch, as far as options and data allow."""
    given = settings.trainer.arguments
    validated = has_validation(data, given.limit_val_batches)
    found = fit_callbacks(settings.run.patience, folder, validated)
    if not validated:
        say("no validation: all epochs are trained, and the weights of the last one are tested and saved.")
    if given.enable_checkpointing is False:
        say("enable_checkpointing is false: the run cannot be resumed, and the weights of its last epoch are saved.")
        return [callback for callback in found if isinstance(callback, LastStageStopping)]
    return found


def say(text: str) -> None:
    """Prints a line once, not in every process of a run."""
    if first_process():
        print(text)


def after_interruption(folder: Path) -> str:
    """What was kept of a fit that was ended, and how to go on."""
    if (folder / "last.ckpt").is_file():
        return (
            f"fit was ended; {folder / 'last.ckpt'} holds the last complete epoch. Resume: the same command with "
            "--ckpt_path last."
        )
    return f"fit was ended before the end of the first epoch; nothing is kept in {folder}."
