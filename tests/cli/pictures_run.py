"""A folder of tiny pictures and a config for it, to try what commands do with a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from tests.cli.test_resume import RECIPE

STAGES = [
    {"name": "joint", "epochs": 1, "train": ["backbone", "addon", "prototypes"]},
    {"name": "push"},
    {"name": "last", "epochs": 1, "train": ["head"]},
]


def write_pictures(folder: Path, count: int = 5) -> Path:
    """Pictures of two classes in the splits train, val and test."""
    for split in ("train", "val", "test"):
        for shade, name in ((40, "cat"), (200, "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (shade + i, shade, 9 * i)).save(folder / split / name / f"{i}.png")
    return folder


def write_config(path: Path, pictures: Path, **trainer: Any) -> Path:
    """The config of a ProtoPNet that trains for two epochs."""
    arguments: Mapping[str, Any] = RECIPE["model"]["init_args"]
    recipe = {"lr": 0.01, "stages": STAGES}
    config = {
        "model": {"class_path": "ProtoPNet", "init_args": {**arguments, "recipe": recipe}},
        "data": {"class_path": "ImageFolder", "init_args": {"root": str(pictures), "size": [8, 8], "batch_size": 4}},
        "trainer": {**RECIPE["trainer"], **trainer},
    }
    path.write_text(yaml.safe_dump(config))
    return path
