"""From a config and the command line to typed settings, for every command that reads a config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer

from zoo.cli.classes import data_modules, find_class, models
from zoo.cli.config import CLASSES, SECTIONS, override, pairs, read_arguments, read_config
from zoo.cli.part import Part, read_part
from zoo.cli.typed import check_keys, parameters
from zoo.data.base.module import DataModule

DERIVED = ("domain",)  # arguments of models that come from the data
CALL = ("overwrite", "ckpt_path", "checkpoint", "force", "explain", "top")  # of one call, not of the run
ONLY = {  # options of some commands
    "overwrite": ("fit",),
    "checkpoint": ("validate", "test", "predict"),
    "explain": ("predict",),
    "top": ("predict",),
}
IGNORED = ("weights_only",)  # written to the configs of runs by earlier versions


@dataclass(frozen=True)
class RunOptions:
    """Options of a run besides model, data and trainer."""

    seed_everything: bool | int = 0
    """Seed of all random numbers; true draws one, false leaves them unseeded."""
    output: str | None = None
    """Folder of the run (default: runs/NAME, of configs/.../NAME.yaml)."""
    patience: int = 20
    """Epochs without improvement after which the last stage ends."""
    cache_features: bool = False
    """Compute the features of a frozen image backbone or text encoder once instead of in every epoch."""
    overwrite: bool = False
    """fit: remove the run in that folder first."""
    ckpt_path: str | None = None
    """fit: "last" resumes the run. Others: which weights to use, "best" (default), "last" or a file."""
    checkpoint: str | None = None
    """In place of a run: name or folder of a checkpoint. Its data are those of its config, or of --config."""
    force: bool = False
    """Go on although config or data differ from those of the run."""
    explain: bool = False
    """predict: add the units with the largest contributions to the table."""
    top: int = 3
    """predict: number of these units."""


@dataclass(frozen=True)
class Settings:
    """Everything that a config says.

    Attributes:
        run: options of the run.
        trainer: arguments of Lightning's Trainer.
        model: None if the config has no model.
        data: None if the config has no data.
        files: names of the config files, for messages.
    """

    run: RunOptions
    trainer: Part
    model: Part | None
    data: Part | None
    files: str

    def require(self, section: str) -> Part:
        """The model or data of the config.

        Raises:
            ValueError: the config has none.
        """
        part = self.model if section == "model" else self.data
        if part is None:
            raise ValueError(f"{self.files} has no {section}; give a config that has, with --config FILE.")
        return part


def read_settings(arguments: list[str], command: str) -> Settings:
    """The settings that the arguments of a command describe: config files and overrides.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: a key or class does not exist, or a value has the wrong type; the message names the nearest one.
    """
    return parse(*read_arguments(arguments, command))


def create_data(path: Path, overrides: list[str] | None = None, command: str = "") -> DataModule:
    """The data module of a config.

    Args:
        path: of the config.
        overrides: arguments `--data.init_args.NAME VALUE` or `--data.NAME=VALUE`.
        command: to which they were given, for messages.

    Raises:
        FileNotFoundError, ValueError: see `read_settings`; or an override is not about data.
    """
    config = read_config(path)
    for name, text in pairs(overrides or [], command):
        if not name.startswith("--data."):
            raise ValueError(f"{command} has no option '{name}'; `python train.py {command} --help` lists all options.")
        override(config, name, text)
    part = class_part(config, "data", str(path))
    if part is None:
        raise ValueError(f"{path} has no data; give a config that has, with --config FILE.")
    return part.build()


def parse(config: Mapping[str, Any], files: str) -> Settings:
    """Settings from plain data.

    Args:
        config: content of the files, with overrides.
        files: their names, for messages.

    Raises:
        ValueError: see `read_settings`.
    """
    options = parameters(RunOptions)
    check_keys(config, (*options, *SECTIONS, *IGNORED), f"{files}: the config")
    run = read_part(RunOptions, {key: value for key, value in config.items() if key in options}, files)
    trainer = read_part(Trainer, section(config, "trainer", files), f"{files}: trainer")
    model, data = (class_part(config, name, files) for name in CLASSES)
    return Settings(run.build(), trainer, model, data, files)


def section(config: Mapping[str, Any], name: str, files: str) -> Mapping[str, Any]:
    """A section of a config, {} if it is left out.

    Raises:
        ValueError: it is not a mapping.
    """
    found = config.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{files}: {name} must be a mapping; got {found!r}.")
    return found


def class_part(config: Mapping[str, Any], name: str, files: str) -> Part | None:
    """The section `model` or `data`.

    Raises:
        ValueError: it does not name a class, or see `read_part`.
    """
    if config.get(name) is None:
        return None
    known = models() if name == "model" else data_modules()
    given = config[name]
    if not isinstance(given, Mapping) or "class_path" not in given:
        raise ValueError(f"{files}: {name} must have a class_path, such as {next(iter(known))}; got {given!r}.")
    check_keys(given, ("class_path", "init_args"), f"{files}: {name}")
    cls = find_class(given["class_path"], known, f"{files}: {name}")
    arguments = section(given, "init_args", f"{files}: {name}")
    return read_part(cls, arguments, f"{files}: {name}.init_args", DERIVED if name == "model" else ())
