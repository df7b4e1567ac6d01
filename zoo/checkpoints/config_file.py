"""config.yaml of a checkpoint: its keys, strict reading, and hashes that detect changes. Does not import torch."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.utils.yaml_files import dump_yaml, parse_yaml, read_yaml

# Since 2, sparse tensors are stored compactly, see zoo.utils.sparse_tensors; since 3, the config has a hash; 4 has
# rounded weights, see zoo.utils.small_tensors.
FORMATS = (1, 2, 3, 4)
UNHASHED, ROUNDED = (1, 2), 4
CONFIG, WEIGHTS, GOLDEN = "config.yaml", "model.safetensors", "golden.safetensors"
KEYS = {"format", "model", "arguments", "metrics", "sha256"}
SHARED = "backbones"  # optional key: frozen backbones that are stored next to the checkpoint
LONGEST_NAME = 100  # characters of a model's name
ABOUT = "about"  # optional key: content of the model card
CIRCUITS = "circuits"  # optional folder in a checkpoint: TASK.safetensors and TASK.yaml
CERTIFICATE = "certificate"  # optional key: see `zoo.core.certificate`
STORAGE = "storage"  # key of format 4: see `zoo.core.storage`
OPTIONAL = (ABOUT, CERTIFICATE, STORAGE)


def read_config(folder: Path) -> dict[str, Any]:
    """The checked content of a checkpoint's config.yaml.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the file is not valid YAML or has YAML tags, keys are missing or unknown, the model is given by a
            class path, or the content does not match its hash.
    """
    missing = [name for name in (CONFIG, WEIGHTS, GOLDEN) if not (folder / name).is_file()]
    if missing:
        found = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{folder} has no {', '.join(missing)} (found: {found or 'nothing'}). Give a folder written by "
            "`train.py fit` or zoo.save()."
        )
    config = read_yaml(folder / CONFIG)
    check_content(config, folder / CONFIG)
    return config


def check_content(config: Any, path: Path) -> None:
    """Checks keys, format, model name, hashes and types of a config.

    Args:
        config: what was read.
        path: of the file, for messages.

    Raises:
        ValueError: the content is not that of a checkpoint.
    """
    if not isinstance(config, dict) or set(config) - {SHARED, *OPTIONAL} != KEYS:
        keys = sorted(str(key)[:40] for key in config)[:12] if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{path} must have the keys {', '.join(sorted(KEYS))}; got {keys}.")
    if type(config["format"]) is not int or config["format"] not in FORMATS:
        raise ValueError(
            f"{path.parent} is of checkpoint format {config['format']!r:.40}; this version reads format {FORMATS[0]} "
            f"to {FORMATS[-1]}. Install a newer version of zoo."
        )
    if (STORAGE in config) != (config["format"] == ROUNDED):
        raise ValueError(f"{path}: format {ROUNDED} has the key '{STORAGE}', and no other format has it.")
    name = config["model"]
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(
            f"{path} names the model {name!r:.{LONGEST_NAME}}; expected a registry key such as 'protopnet'. Class "
            "paths are never imported."
        )
    hashed = [WEIGHTS, GOLDEN] if config["format"] in UNHASHED else [WEIGHTS, GOLDEN, CONFIG]
    if not isinstance(config["sha256"], dict) or set(config["sha256"]) != set(hashed):
        raise ValueError(f"{path} must give the SHA-256 of exactly {', '.join(hashed)}.")
    if any(not isinstance(config.get(key, {}), dict) for key in ("arguments", "metrics", *OPTIONAL)):
        raise ValueError(
            f"{path}: 'arguments' and 'metrics' must be mappings, and so must {', '.join(OPTIONAL)}, if they are there."
        )
    for key, value in config["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path}: the metric {key!r:.40} must be a number; got {value!r:.40}.")
    if CONFIG in hashed and (found := content_hash(config)) != (expected := config["sha256"][CONFIG]):
        raise ValueError(
            f"{path} is damaged or was changed: the SHA-256 of its content is {found[:12]}..., expected "
            f"{str(expected)[:12]}.... Get the checkpoint again; to edit a model, load it and save it with zoo.save()."
        )


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml. Its "sha256" gives the hashes of the other files; that of the content is added.

    Raises:
        yaml.YAMLError: a value is not plain data.
    """
    read_back = parse_yaml(dump_yaml(config))  # tuples become lists, as they will when the file is read
    complete = {**config, "sha256": {**config["sha256"], CONFIG: content_hash(read_back)}}
    (folder / CONFIG).write_text(dump_yaml(complete), encoding="utf-8")


def format_of(config: Mapping[str, Any]) -> int:
    """The format in which a config with these keys is written: the first that holds them."""
    return ROUNDED if STORAGE in config else ROUNDED - 1


def content_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the content of a config without this hash, as JSON in the order of the file; formatting is ignored."""
    others = {name: value for name, value in config["sha256"].items() if name != CONFIG}
    try:
        text = json.dumps({**config, "sha256": others}, default=str)
    except TypeError as error:
        raise ValueError(f"the keys of a {CONFIG} must be plain data ({error}).") from error
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def backup(folder: Path) -> Path:
    """Where a checkpoint is kept while it is replaced."""
    folder = Path.cwd() / folder  # "." has no name
    return folder.parent / f".{folder.name}.old"


def recover(folder: Path) -> None:
    """Restores a checkpoint whose replacement was killed between its two renames."""
    old = backup(folder)
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)
