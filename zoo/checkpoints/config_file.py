"""config.yaml of a checkpoint: what it may say, read strictly, and the hashes that tell of changes. Needs no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where there is one: a vocabulary is a long list
# 2: tensors with few non-zeros are stored as those, see zoo.utils.sparse_tensors; 3: the config has a hash
FORMATS = (1, 2, 3)
UNHASHED = (1, 2)
CONFIG, WEIGHTS, GOLDEN = "config.yaml", "model.safetensors", "golden.safetensors"
KEYS = {"format", "model", "arguments", "metrics", "sha256"}
SHARED = "backbones"  # a key that is there if frozen backbones lie beside the checkpoint
LONGEST = 2**26  # characters of a config, as JSON
ABOUT = "about"  # a key that is there if the checkpoint has a model card


def read_config(folder: Path) -> dict[str, Any]:
    """The checked content of a checkpoint's config.yaml.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: not YAML, a YAML tag, missing or unknown keys, a class path for a model, a file outside, or another
            content than its hash says.
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
        raise ValueError(f"{folder / CONFIG} is no plain YAML ({error}).") from error
    if not isinstance(config, dict) or set(config) - {SHARED, ABOUT} != KEYS:
        keys = sorted(map(str, config)) if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{folder / CONFIG} must have the keys {', '.join(sorted(KEYS))}; got {keys}.")
    if config["format"] not in FORMATS:
        raise ValueError(
            f"{folder} is of checkpoint format {config['format']!r}; this version reads format {FORMATS[0]} to "
            f"{FORMATS[-1]}. Install a newer version of zoo."
        )
    name = config["model"]
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(
            f"{folder / CONFIG} names the model {name!r}; expected a registry key such as 'protopnet'. Class "
            "paths are never imported."
        )
    hashed = [WEIGHTS, GOLDEN] if config["format"] in UNHASHED else [WEIGHTS, GOLDEN, CONFIG]
    if not isinstance(config["sha256"], dict) or set(config["sha256"]) != set(hashed):
        raise ValueError(f"{folder / CONFIG} must give the SHA-256 of {', '.join(hashed)}, and of nothing else.")
    if not isinstance(config["arguments"], dict) or not isinstance(config["metrics"], dict):
        raise ValueError(f"{folder / CONFIG}: 'arguments' and 'metrics' must be mappings.")
    if CONFIG in hashed and (found := content_hash(config)) != (told := config["sha256"][CONFIG]):
        raise ValueError(
            f"{folder / CONFIG} is damaged or was changed: the SHA-256 of its content is {found[:12]}..., it says "
            f"{str(told)[:12]}.... Get the checkpoint again; to change a model on purpose, load it and zoo.save() it."
        )
    return config


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml; its "sha256" has the hashes of the other files, and gets that of the config itself.

    Raises:
        yaml.YAMLError: something in it is no plain data.
    """
    read_back = yaml.safe_load(_text(config))  # tuples are lists then, so that the hash is that of what will be read
    whole = {**config, "sha256": {**config["sha256"], CONFIG: content_hash(read_back)}}
    (folder / CONFIG).write_text(_text(whole), encoding="utf-8")


def content_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a config says, all but this hash, as JSON in the order of the file: formatting does not count."""
    others = {name: told for name, told in config["sha256"].items() if name != CONFIG}
    digest, length = hashlib.sha256(), 0
    try:
        for piece in json.JSONEncoder(default=str).iterencode({**config, "sha256": others}):
            digest.update(piece.encode())
            length += len(piece)
            if length > LONGEST:  # aliases of aliases in YAML can say terabytes in a few lines
                raise ValueError(f"a {CONFIG} of a checkpoint says at most {LONGEST:,} characters; got more.")
    except TypeError as error:
        raise ValueError(f"a {CONFIG} holds plain data; got a key that is none ({error}).") from error
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def backup(folder: Path) -> Path:
    """Where a checkpoint lies while another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Undoes a replacement that was killed between its two renames."""
    old = backup(folder)
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)


def _text(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
