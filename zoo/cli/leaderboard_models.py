"""The trained models that a leaderboard compares: runs of `fit`, checkpoints, and black boxes."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.checkpoints.load import load
from zoo.cli.settings import read_settings
from zoo.training.black_box import BlackBox
from zoo.training.staged_module import StagedModule

WEIGHTS = ("checkpoint/model.safetensors", "model.safetensors", "best.ckpt")


@dataclass(frozen=True)
class Candidate:
    """A trained model.

    Attributes:
        name: of its folder, without the seed.
        seed: of its training, from the name of the folder; "" if there is none.
        folder: of the run or the checkpoint.
        black_box: whether it is a black box.
        mark: hash of the weights, to detect changes.
    """

    name: str
    seed: str
    folder: Path
    black_box: bool
    mark: str

    def load(self) -> StagedModule:
        """The model: of a checkpoint, or the best epoch of a black box.

        Raises:
            FileNotFoundError, ValueError: the folder holds neither, or a file is damaged.
        """
        if not self.black_box:
            inner = self.folder / "checkpoint"
            return load(inner if inner.is_dir() else self.folder)
        settings = read_settings(["--config", str(self.folder / "config.yaml")], "leaderboard")
        part = settings.require("model")
        if part.cls is not BlackBox:
            raise ValueError("it has weights but no checkpoint; let `train.py fit` finish.")
        model: StagedModule = part.build(domain=settings.require("data").build().domain)
        state = torch.load(self.folder / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict(state)
        return model.eval()


def candidates(folders: Iterable[Path]) -> Iterator[Candidate]:
    """The trained models in folders, and in the folders inside them, by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}.")
        for run in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
            weights = next((run / name for name in WEIGHTS if (run / name).is_file()), None)
            if weights is None or (run.name == "checkpoint" and run is not folder):
                continue
            name = run.resolve().name
            seed = re.search(r"_seed(\d+)$", name)
            mark = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
            yield Candidate(
                name[: seed.start()] if seed else name,
                seed[1] if seed else "",
                run,
                weights.name == "best.ckpt",
                mark,
            )
