"""What fit, validate, test and predict share: model, data and Trainer of a run, which is one folder."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar

from zoo.cli.run_folder import first_process
from zoo.cli.settings import RunOptions, Settings
from zoo.data.base.module import DataModule
from zoo.domain import Domain
from zoo.training.callbacks import AtomicCheckpointIO
from zoo.training.progress import LineProgress
from zoo.training.quiet import quieten
from zoo.training.staged_module import StagedModule
from zoo.utils.shards import Shard, launched, processes

WEIGHTS = ("best", "last")  # what --ckpt_path may name besides a file
LOST = re.compile(r"(?i)gloo.*(closed by peer|reset by peer|broken pipe)|ncclRemoteError", re.DOTALL)


def build_data(settings: Settings) -> DataModule:
    """The data, after all random numbers are seeded.

    Raises:
        ValueError: the config has no data, or a constructor refuses a value.
    """
    if settings.run.seed_everything is not False:
        seed_everything(int(settings.run.seed_everything), workers=True)
    quieten()
    data: DataModule = settings.require("data").build()
    if launched():
        Shard.of_environment().after_first("data", data.prepare_data)
    elif first_process():
        data.prepare_data()
    return data


def build_model(settings: Settings, data: DataModule) -> StagedModule:
    """The model, with the classes and the preprocessing of the data.

    Raises:
        ValueError: the config has no model, or the constructor refuses a value.
    """
    # As a Domain, not as plain data: its texts, such as a tokenizer in JSON, stay as they are.
    return settings.require("model").build(domain=Domain.from_dict(data.domain))


def make_trainer(settings: Settings, callbacks: Sequence[Callback] = (), **defaults: Any) -> Trainer:
    """The Trainer of a config.

    Args:
        settings: of the run.
        callbacks: besides those of the config.
        defaults: arguments for where the config gives None.
    """
    given = settings.trainer.values()
    defaults = {"plugins": [AtomicCheckpointIO()], **defaults}
    if launched() and given["devices"] in ("auto", None):  # otherwise each process would train by itself
        given["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        given["num_nodes"] = processes() // given["devices"]
    several = launched() or given["devices"] not in (1, "1", "auto", None) or given["num_nodes"] not in (1, None)
    if given["strategy"] == "auto" and several:
        given["strategy"] = "ddp_find_unused_parameters_true"  # stages freeze parameter groups
    found = given.pop("callbacks") or []
    found = list(found) if isinstance(found, list) else [found]
    if given["enable_checkpointing"] is None and defaults.get("enable_checkpointing") is False:
        found = [callback for callback in found if not isinstance(callback, Checkpoint)]  # only for the training
    if given["enable_progress_bar"] is not False and not sys.stdout.isatty():
        found += [] if any(isinstance(callback, ProgressBar) for callback in found) else [LineProgress()]
    chosen = given | {k: v for k, v in defaults.items() if given[k] is None}
    trainer = Trainer(**chosen, callbacks=[*found, *callbacks])
    if launched() and trainer.world_size != processes():
        raise ValueError(
            f"torchrun started {processes()} processes, but trainer.devices and trainer.num_nodes ask for "
            f"{trainer.world_size}; leave them out."
        )
    return trainer


def weights_of(run: RunOptions, folder: Path) -> str:
    """The file with the weights of a finished run.

    Raises:
        FileNotFoundError: there is none.
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    remedy = "Train first, with `python train.py fit --config FILE`, or give --ckpt_path FILE."
    if run.ckpt_path not in (None, *WEIGHTS):
        return existing(Path(run.ckpt_path), remedy)
    return existing(last if run.ckpt_path == "last" or not (run.ckpt_path or best.exists()) else best, remedy)


def existing(path: Path, remedy: str) -> str:
    """The path of a file.

    Raises:
        FileNotFoundError: it does not exist; the message ends in the `remedy`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}. {remedy}")
    return str(path)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Says in plain words what Lightning and the libraries for several processes report in their own.

    Raises:
        ValueError: Lightning refuses an option.
        RuntimeError: the connection to another process of a distributed fit was lost.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except RuntimeError as error:
        if LOST.search(str(error)) is None:
            raise
        raise RuntimeError(
            "another process of this command has ended, and this one cannot go on without it; the output above has its "
            "error. To resume a fit, add --ckpt_path last."
        ) from error
