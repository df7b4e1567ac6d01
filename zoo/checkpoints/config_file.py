"""config.yaml of a checkpoint: its keys, strict reading, and hashes that detect changes. Does not import torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, if available, for long vocabularies
# Since 2, sparse tensors are stored compactly, see zoo.utils.sparse_tensors; since 3, the config has a hash.
FORMATS = (1, 2, 3)
UNHASHED = (1, 2)
CONFIG, WEIGHTS, GOLDEN = "config.yaml", "model.safetensors", "golden.safetensors"
KEYS = {"format", "model", "arguments", "metrics", "sha256"}
SHARED = "backbones"  # optional key: frozen backbones that are stored next to the checkpoint
LONGEST = 2**26  # maximum number of characters of a config, as JSON
ABOUT = "about"  # optional key: content of the model card


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
    try:
        config = yaml.load((folder / CONFIG).read_text(encoding="utf-8"), Loader=SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is not valid YAML ({error}).") from error
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
    if not isinstance(config, dict) or set(config) - {SHARED, ABOUT} != KEYS:
        keys = sorted(map(str, config)) if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{path} must have the keys {', '.join(sorted(KEYS))}; got {keys}.")
    if config["format"] not in FORMATS:
        raise ValueError(
            f"{path.parent} is of checkpoint format {config['format']!r}; this version reads format {FORMATS[0]} to "
            f"{FORMATS[-1]}. Install a newer version of zoo."
        )
    name = config["model"]
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(
            f"{path} names the model {name!r}; expected a registry key such as 'protopnet'. Class paths are never "
            "imported."
        )
    hashed = [WEIGHTS, GOLDEN] if config["format"] in UNHASHED else [WEIGHTS, GOLDEN, CONFIG]
    if not isinstance(config["sha256"], dict) or set(config["sha256"]) != set(hashed):
        raise ValueError(f"{path} must give the SHA-256 of exactly {', '.join(hashed)}.")
    if not isinstance(config["arguments"], dict) or not isinstance(config["metrics"], dict):
        raise ValueError(f"{path}: 'arguments' and 'metrics' must be mappings.")
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
    read_back = yaml.safe_load(_text(config))  # tuples become lists, as they will when the file is read
    complete = {**config, "sha256": {**config["sha256"], CONFIG: content_hash(read_back)}}
    (folder / CONFIG).write_text(_text(complete), encoding="utf-8")


def content_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the content of a config without this hash, as JSON in the order of the file; formatting is ignored."""
    others = {name: value for name, value in config["sha256"].items() if name != CONFIG}
    digest, length = hashlib.sha256(), 0
    try:
        for piece in json.JSONEncoder(default=str).iterencode({**config, "sha256": others}):
            digest.update(piece.encode())
            length += len(piece)
            if length > LONGEST:  # nested YAML aliases can expand a few lines to terabytes
                raise ValueError(f"a {CONFIG} of a checkpoint has at most {LONGEST:,} characters; got more.")
    except TypeError as error:
        raise ValueError(f"the keys of a {CONFIG} must be plain data ({error}).") from error
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def backup(folder: Path) -> Path:
    """Where a checkpoint is kept while it is replaced."""
    return folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Restores a checkpoint whose replacement was killed between its two renames."""
    old = backup(folder)
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)


def _text(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
