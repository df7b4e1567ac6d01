"""Configs as plain data: YAML files, merged with the overrides of the command line."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.utils.errors import did_you_mean
from zoo.utils.yaml_files import ConfigLoader, parse_yaml, read_yaml

SECTIONS = ("model", "data", "trainer")
CLASSES = ("model", "data")  # sections that name a class: class_path and init_args
FLAGS = ("--help", "-h", "--print_config")


class Override(str):
    """Text of a value given on the command line, converted as soon as the type of its key is known."""


def load_yaml(text: str) -> Any:
    """YAML as in config files, where 1e-3 is a number.

    Raises:
        ValueError: see `parse_yaml`.
    """
    return parse_yaml(str(text), ConfigLoader)  # an Override is not accepted


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config file.

    Raises:
        FileNotFoundError: there is no such file; the message names similar shipped configs.
        ValueError: the file is not a YAML mapping, or see `read_yaml`.
    """
    if not path.is_file():
        shipped = sorted(str(p) for p in Path("configs").rglob("*.yaml"))
        raise FileNotFoundError(f"no config at {path}{'; ' + did_you_mean(path, shipped) if shipped else '.'}")
    config = read_yaml(path, ConfigLoader)
    if not isinstance(config, dict):
        raise ValueError(f"{path} must be a mapping with the keys model and data; got {type(config).__name__}.")
    return config


def read_arguments(arguments: list[str], command: str) -> tuple[dict[str, Any], str]:
    """The config that the arguments of a command describe: files after `--config`, then overrides.

    Returns:
        the config, whose overridden values are `Override`s; and the names of the files, for messages.

    Raises:
        FileNotFoundError, ValueError: see `read_config`; or an argument is not an option.
    """
    given = list(pairs((a for a in arguments if a not in FLAGS), command))
    files = [value for name, value in given if name in ("--config", "-c")]
    config: dict[str, Any] = {}
    for file in files:
        config = merge(config, read_config(Path(file)))
    for name, text in given:
        if name not in ("--config", "-c"):
            override(config, name, text)
    return config, ", ".join(files) or "command line"


def pairs(arguments: Iterable[str], command: str) -> Iterator[tuple[str, str]]:
    """Options and values of arguments `--name value` or `--name=value`.

    Raises:
        ValueError: an argument is not an option, or an option has no value.
    """
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            raise ValueError(f"{command}: unexpected argument '{word}'; options have the form --NAME VALUE.")
        name, equals, value = word.partition("=")
        text = value if equals else next(words, None)
        if text is None or (not equals and text.startswith("--")):
            raise ValueError(f"{name} needs a value: {name} VALUE, or {name}=VALUE.")
        yield name, text


def merge(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the values of another on top. If the class of a section changes, so do all of its arguments."""
    merged = dict(config)
    for key, value in other.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            changed = "class_path" in value and value["class_path"] != old.get("class_path")
            merged[key] = dict(value) if changed else merge(old, value)
        else:
            merged[key] = value
    return merged


def override(config: dict[str, Any], option: str, text: str) -> None:
    """Sets one value of a config, in place.

    Args:
        config: changed by this.
        option: such as --data.init_args.batch_size, --data.batch_size, --model CBM, or --trainer.callbacks+ to append.
        text: of the value.

    Raises:
        ValueError: the option leads into a value that is not a mapping.
    """
    append, *path = option.endswith("+"), *option.removeprefix("--").removesuffix("+").split(".")
    if path[0] in CLASSES:
        path = [path[0], *class_keys(path[1:], text)]
    place, at = config, path[0]
    for depth, key in enumerate(path[1:], 1):
        inner = load_yaml(place[at]) if isinstance(place.get(at), Override) else place.get(at)
        if inner is not None and not isinstance(inner, Mapping):
            raise ValueError(f"command line: {option} needs a mapping at {'.'.join(path[:depth])}; got {inner!r}.")
        place[at] = place = dict(inner or {})
        at = key
    if append:
        old = place.get(at) or []
        place[at] = [*(old if isinstance(old, list) else [old]), Override(text)]
    elif path[0] in CLASSES and path[1:] == ["class_path"]:
        config.update(merge(config, {path[0]: {"class_path": text}}))
    elif path in ([section] for section in SECTIONS) or path[1:] == ["init_args"]:
        place[at] = merge(place.get(at) or {}, mapping(option, text))
    else:
        place[at] = Override(text)


def class_keys(keys: list[str], text: str) -> list[str]:
    """Keys within a section that names a class; `init_args` may be left out, and the section itself is its class."""
    if not keys:
        return [] if text.lstrip().startswith("{") else ["class_path"]
    return keys if keys[0] in ("class_path", "init_args") else ["init_args", *keys]


def mapping(option: str, text: str) -> Mapping[str, Any]:
    """The mapping that a text is, as YAML.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = load_yaml(text)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise ValueError(f"{option} must be a mapping, such as {{name: value}}; got '{text}'.")
    return found


def resolve(value: Any) -> Any:
    """A value in which each `Override` is replaced by what its text means in YAML."""
    if isinstance(value, Override):
        return load_yaml(value)
    if isinstance(value, Mapping):
        return {key: resolve(inner) for key, inner in value.items()}
    return [resolve(inner) for inner in value] if isinstance(value, list) else value
