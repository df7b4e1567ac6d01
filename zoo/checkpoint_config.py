"""The config.yaml of a checkpoint folder, read and checked; see `zoo.checkpoint`. Needs no torch."""

from pathlib import Path
from typing import Any

import yaml

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where there is one: a vocabulary is a long list
FORMATS = (1, 2)  # 2: tensors with few non-zeros are stored as those, see zoo.sparse_storage
CONFIG, WEIGHTS, GOLDEN = "config.yaml", "model.safetensors", "golden.safetensors"
KEYS = {"format", "model", "arguments", "metrics", "sha256"}
SHARED = "backbones"  # a key that is there if frozen backbones lie beside the checkpoint
ABOUT = "about"  # a key that is there if the checkpoint has a model card


def read_config(folder: Path) -> dict[str, Any]:
    """The checked content of a checkpoint's config.yaml.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: not YAML, a YAML tag, missing or unknown keys, a class path for a model, or a file outside.
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
            f"{folder} is of checkpoint format {config['format']}; this version reads format {FORMATS[0]} to "
            f"{FORMATS[-1]}. Install a newer version of zoo."
        )
    name = config["model"]
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(
            f"{folder / CONFIG} names the model {name!r}; expected a registry key such as 'protopnet'. Class "
            "paths are never imported."
        )
    if not isinstance(config["sha256"], dict) or set(config["sha256"]) != {WEIGHTS, GOLDEN}:
        raise ValueError(f"{folder / CONFIG} must give the SHA-256 of {WEIGHTS} and {GOLDEN}, and of nothing else.")
    if not isinstance(config["arguments"], dict) or not isinstance(config["metrics"], dict):
        raise ValueError(f"{folder / CONFIG}: 'arguments' and 'metrics' must be mappings.")
    return config
