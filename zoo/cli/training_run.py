"""What fit, validate, test and predict share: settings, model, data and Trainer of a run, which is one folder."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_docstring_parse_options
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback

from zoo.cli.config import CLASSES
from zoo.cli.settings import DERIVED, RunOptions, Settings, read_settings
from zoo.cli.typed import parameters
from zoo.data.base.module import DataModule
from zoo.domain import Domain
from zoo.training.callbacks import AtomicCheckpointIO
from zoo.training.staged_module import StagedModule

WEIGHTS = ("best", "last")  # what --ckpt_path may name besides a file


def settings_of(arguments: list[str], command: str, description: str | None) -> Settings | None:
    """The settings of a run; None if only the help or the config was asked for, which is then printed.

    Raises:
        FileNotFoundError, ValueError: see `zoo.cli.settings.read_settings`.
    """
    settings = read_settings(arguments, command)
    if "--help" in arguments or "-h" in arguments:
        print(help_text(settings, command, description))
        return None
    if "--print_config" in arguments:
        print(yaml.safe_dump(to_dict(settings), sort_keys=False), end="")
        return None
    for section in CLASSES:
        settings.require(section)
    return settings


def folder_of(settings: Settings) -> Path:
    """The folder of a run."""
    files = settings.files.split(", ")
    return Path(settings.run.output or f"runs/{Path(files[0]).stem if files[0].endswith('.yaml') else 'unnamed'}")


def build(settings: Settings) -> tuple[StagedModule, DataModule]:
    """Model and data, after all random numbers are seeded.

    Raises:
        ValueError: the config has no model or no data, or a constructor refuses a value.
    """
    model, data = settings.require("model"), settings.require("data")
    if settings.run.seed_everything is not False:
        seed = None if settings.run.seed_everything is True else settings.run.seed_everything
        seed_everything(seed, workers=True)
    quieten()
    made = data.build()
    # As a Domain, not as plain data: its texts, such as a tokenizer in JSON, stay as they are.
    return model.build(domain=Domain.from_dict(made.domain)), made


def make_trainer(settings: Settings, callbacks: Sequence[Callback] = (), **defaults: Any) -> Trainer:
    """The Trainer of a config.

    Args:
        settings: of the run.
        callbacks: besides those of the config.
        defaults: arguments for where the config gives None.
    """
    given = settings.trainer.values()
    defaults = {"plugins": [AtomicCheckpointIO()], **defaults}
    if given["strategy"] == "auto" and given["devices"] not in (1, "1", "auto", None):
        given["strategy"] = "ddp_find_unused_parameters_true"  # stages freeze parameter groups
    found = given.pop("callbacks") or []
    found = list(found) if isinstance(found, list) else [found]
    return Trainer(**given | {k: v for k, v in defaults.items() if given[k] is None}, callbacks=[*found, *callbacks])


def weights_of(run: RunOptions, folder: Path) -> str:
    """The file with the weights of a finished run.

    Raises:
        FileNotFoundError: there is none.
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    if run.ckpt_path not in (None, *WEIGHTS):
        return str(run.ckpt_path)
    wanted = last if run.ckpt_path == "last" or not best.exists() else best
    return existing(wanted, "Train first, with `python train.py fit --config FILE`, or give --ckpt_path FILE.")


def existing(path: Path, remedy: str) -> str:
    """The path of a file.

    Raises:
        FileNotFoundError: it does not exist; the message ends in the `remedy`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}. {remedy}")
    return str(path)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Settings as the content of a config file, defaults included."""
    config: dict[str, Any] = {k: v for k, v in vars(settings.run).items() if v is not None and k != "ckpt_path"}
    for name, part in (("model", settings.model), ("data", settings.data)):
        if part is not None:
            path = f"{part.cls.__module__}.{part.cls.__qualname__}"
            config[name] = {"class_path": path, "init_args": part.to_dict()}
    return config | {"trainer": settings.trainer.to_dict()}


def help_text(settings: Settings, command: str, description: str | None) -> str:
    """The options of a command; with those of model and data, if a config names them."""
    set_docstring_parse_options(attribute_docstrings=True)
    parser = ArgumentParser(prog=f"train.py {command}", description=description, usage=f"train.py {command} [OPTIONS]")
    parser.add_argument("--config", metavar="FILE", help="config; of several, later ones take precedence")
    parser.add_argument("--print_config", action="store_true", help="print the config with all defaults and exit")
    parser.add_class_arguments(RunOptions, None)
    for name, part in (("model", settings.model), ("data", settings.data)):
        if part is None:
            listed = "models" if name == "model" else name
            parser.add_argument(f"--{name}", metavar="CLASS", help=f"one of `train.py list {listed}`")
        else:
            skip: set[str | int] = {*DERIVED} if name == "model" else set()
            parser.add_class_arguments(part.cls, f"{name}.init_args", skip=skip, fail_untyped=False)
    names = ", ".join(parameters(Trainer))
    parser.add_argument("--trainer.NAME", metavar="VALUE", help=f"an argument of Lightning's Trainer: {names}")
    shown = "" if settings.model else "\nWith --config FILE, the options of its model and data are listed as well."
    return parser.format_help() + shown


def quieten() -> None:
    """Silences advertisements, and warnings that do not apply to data in memory or to staged training."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).addFilter(lambda record: "Tip: For seamless" not in record.getMessage())
    for message in (
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches.*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)
