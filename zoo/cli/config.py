"""Checks a config against the classes that it names, before anything is built: a typo gets one clear line."""

import importlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer

import zoo.data
from zoo.core import registry
from zoo.training.black_box import BlackBox
from zoo.training.recipe import parse_recipe
from zoo.utils.signatures import init_parameters

BASES = ("DataModule", "ImageData")
RUN = ("seed_everything", "output", "overwrite", "patience", "cache_features", "ckpt_path", "weights_only")
TOP = (*RUN, "trainer", "model", "data")


def read_config(path: Path) -> dict[str, Any]:
    """The content of a YAML config.

    Raises:
        FileNotFoundError: there is none; the message names shipped configs that are near.
        ValueError: it is no YAML mapping.
    """
    if not path.is_file():
        shipped = sorted(str(p) for p in Path("configs").rglob("*.yaml"))
        near = get_close_matches(str(path), shipped, 2, 0.5) or shipped[:4]
        raise FileNotFoundError(f"no config at {path}{'; did you mean ' + ' or '.join(near) + '?' if near else '.'}")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must be a mapping with the keys model and data; got {type(config).__name__}.")
    return config


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuses keys and classes that do not exist.

    Raises:
        ValueError: names the key, the nearest one that exists, and where it stands.
    """
    _check_keys(config, TOP, f"{where}: the config")
    _check_keys(config.get("trainer") or {}, _parameters(Trainer), f"{where}: trainer")
    for key, known in (("model", models()), ("data", data_modules())):
        part = config.get(key)
        if part is None:
            continue
        if not isinstance(part, Mapping) or "class_path" not in part:
            raise ValueError(f"{where}: {key} must name a class_path, such as {next(iter(known))}; got {part!r}.")
        _check_keys(part, ("class_path", "init_args"), f"{where}: {key}")
        if cls := find_class(part["class_path"], known, f"{where}: {key}"):
            given, place = part.get("init_args") or {}, f"{where}: {key}.init_args of {cls.__name__}"
            _check_keys(given, _parameters(cls), place)
            if key == "model" and given.get("recipe") is not None:
                _check_recipe(given["recipe"], cls, place)


def check_arguments(arguments: list[str]) -> None:
    """Looks through the config and the overrides for typos, before jsonargparse answers in its own words."""
    merged: dict = {}
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config", "-c"):
            path = Path(value or (arguments[i + 1] if i + 1 < len(arguments) else ""))
            found = read_config(path)
            check_config(found, str(path))
            merged |= found
    check_overrides(arguments, merged)


def check_overrides(arguments: Iterable[str], config: Mapping[str, Any]) -> None:
    """Refuses `--model.init_args.x` and the like for an x that does not exist.

    Raises:
        ValueError: names the option and the nearest one that exists.
    """
    for argument in arguments:
        parts = argument.removeprefix("--").split("=")[0].split(".")
        if not argument.startswith("--") or parts[0] not in ("model", "data", "trainer") or len(parts) < 2:
            continue
        named = [p for p in parts[1:] if p != "init_args"]
        if not named or named[0] == "class_path":
            continue
        if parts[0] == "trainer":
            _check_keys({named[0]: None}, _parameters(Trainer), "command line: trainer")
            continue
        known = models() if parts[0] == "model" else data_modules()
        if cls := known.get((config.get(parts[0]) or {}).get("class_path", "").rsplit(".", 1)[-1]):
            _check_keys({named[0]: None}, _parameters(cls), f"command line: {parts[0]}.init_args of {cls.__name__}")


def _check_recipe(recipe: Any, cls: type, where: str) -> None:
    try:
        parse_recipe(recipe).over(cls.default_recipe, cls.__name__)  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def find_class(class_path: str, known: Mapping[str, type], where: str) -> type | None:
    """The class of that name; None for a user's own, given with its module.

    Raises:
        ValueError: the zoo has no such class.
    """
    name = class_path.rsplit(".", 1)[-1]
    if name in known and (name == class_path or class_path.startswith("zoo.")):
        return known[name]
    if "." in class_path and not class_path.startswith("zoo."):
        return None
    lower = {k.lower(): k for k in known} | {e.name: e.cls.__name__ for e in registry.entries()}
    near = get_close_matches(name.lower(), lower, 1)
    hint = f"did you mean '{lower[near[0]]}'?" if near else f"there are: {', '.join(known)}."
    raise ValueError(f"{where} names the class '{class_path}', which does not exist; {hint}")


def create_data(path: Path, rest: Iterable[str], command: str) -> Any:
    """The data module of a config.

    Args:
        path: of the config.
        rest: what else was given on the command line: --data.init_args.NAME VALUE (or =VALUE) changes the data.
        command: what it was given to, for the error.

    Raises:
        FileNotFoundError: there is no config.
        ValueError: the config has no data, or an unknown key or class; or `rest` is not about data.
    """
    found = read_config(path)
    check_config(found, str(path))
    if found.get("data") is None:
        raise ValueError(f"{path} has no data; name a config that has, with --config FILE.")
    part = {"init_args": {}, **found["data"]}
    part["init_args"] = {**(part["init_args"] or {}), **_overrides(rest, command)}
    check_config({"data": part}, "command line")
    cls = find_class(part["class_path"], data_modules(), f"{path}: data")
    if cls is None:  # the user's own, which this config imports wherever it is used
        module, _, name = part["class_path"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
    return cls(**part["init_args"])


def _overrides(rest: Iterable[str], command: str) -> dict[str, Any]:
    values, words = {}, iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith("--data."):
            raise ValueError(f"{command} has no option '{name}'; `python train.py {command} --help` shows all.")
        value = value if equals else next(words, None)
        if value is None:
            raise ValueError(f"{name} needs a value.")
        values[name.removeprefix("--data.").removeprefix("init_args.")] = yaml.safe_load(value)
    return values


def models() -> dict[str, type]:
    """The classes that `model.class_path` may name without a module."""
    return {e.cls.__name__: e.cls for e in registry.entries()} | {"BlackBox": BlackBox}


def data_modules() -> dict[str, type]:
    """The classes that `data.class_path` may name without a module."""
    return {name: getattr(zoo.data, name) for name in zoo.data.__all__ if name not in BASES}


def _parameters(cls: type) -> list[str]:
    return list(init_parameters(cls))


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}."
            raise ValueError(f"{where} has no key '{key}'; {hint}")
