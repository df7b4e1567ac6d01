"""What a run is told: the settings of fit, validate, test and predict."""

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.checkpoints.pretrained import find
from zoo.cli.checkpoint_data import config_of
from zoo.cli.config import CLASSES, FLAGS, pairs
from zoo.cli.run_folder import first_process
from zoo.cli.settings import CALL, ONLY, RunOptions, Settings, read_settings
from zoo.utils.yaml_files import dump_yaml


def settings_of(arguments: list[str], command: str) -> Settings | None:
    """The settings of a run; None if only the config was asked for, which is then printed.

    Raises:
        FileNotFoundError, ValueError: see `zoo.cli.settings.read_settings`; or an option is of another command.
    """
    settings = read_settings(of_checkpoint(arguments, command), command)
    if "--print_config" in arguments:
        print(dump_yaml(to_dict(settings)), end="")
        return None
    for name, commands in ONLY.items():
        if command not in commands and getattr(settings.run, name) != getattr(RunOptions, name):
            raise ValueError(f"{command} has no option '--{name}'; it is one of {', '.join(commands)}.")
    for section in CLASSES:
        if section == "data" or settings.run.checkpoint is None:
            settings.require(section)
    return replace(settings, run=replace(settings.run, seed_everything=seed_of(settings.run)))


def of_checkpoint(arguments: list[str], command: str) -> list[str]:
    """Arguments with `--checkpoint NAME`, completed by the config that belongs to it and a folder for results.

    The config is that of its run or the one that it was shipped with, unless `--config` or `--data` names the data.

    Raises:
        FileNotFoundError: there is no such checkpoint, or its data is unknown.
    """
    given = dict(pairs((a for a in arguments if a not in FLAGS), command))
    if "--checkpoint" not in given:
        return arguments
    folder = find(given["--checkpoint"])
    if given.keys() & {"--config", "-c", "--data", "--data.class_path"}:
        return ["--output", "out", *arguments]
    config = config_of(folder)
    output = str(config.parent) if config.parent == folder.parent else "out"
    return ["--config", str(config), "--output", output, *arguments]


def seed_of(run: RunOptions) -> bool | int:
    """The seed of a run, drawn if the config says true; further processes of a run take that of the first."""
    if run.seed_everything is not True:
        return run.seed_everything
    given = None if first_process() else os.environ.get("PL_GLOBAL_SEED")
    return secrets.randbelow(2**32) if given is None else int(given)


def folder_of(settings: Settings) -> Path:
    """The folder of a run."""
    files = settings.files.split(", ")
    return Path(settings.run.output or f"runs/{Path(files[0]).stem if files[0].endswith('.yaml') else 'unnamed'}")


def to_dict(settings: Settings) -> dict[str, Any]:
    """Settings as the content of a config file, defaults included."""
    config: dict[str, Any] = {k: v for k, v in vars(settings.run).items() if v is not None and k not in CALL}
    for name, part in (("model", settings.model), ("data", settings.data)):
        if part is not None:
            path = f"{part.cls.__module__}.{part.cls.__qualname__}"
            config[name] = {"class_path": path, "init_args": part.to_dict()}
    return config | {"trainer": settings.trainer.to_dict()}
