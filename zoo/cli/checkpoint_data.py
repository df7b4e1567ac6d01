"""The data that a checkpoint was trained on, for the commands that evaluate or change it."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from zoo.cli.settings import create_data
from zoo.data.base.module import DataModule
from zoo.domain import Domain
from zoo.training.batch import as_batch
from zoo.training.staged_module import StagedModule

SPLITS = ("test", "val")


def data_of(checkpoint: Path, config: Path | None, overrides: list[str], command: str) -> DataModule:
    """The data module that a checkpoint was trained on.

    Args:
        checkpoint: folder.
        config: file whose data to use; by default the config.yaml that `fit` writes next to the checkpoint.
        overrides: arguments `--data.NAME VALUE`, see `create_data`.
        command: to which they were given, for messages.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: see `create_data`.
    """
    path = config or checkpoint.parent / "config.yaml"
    if config is None and not path.is_file():
        raise FileNotFoundError(
            f"no config at {path}, where `train.py fit` writes it, so the data of {checkpoint} is unknown; give a "
            "config with --config FILE."
        )
    return create_data(path, overrides, command)


def require_same_domain(model: StagedModule, data: DataModule) -> None:
    """Checks that data has the classes and concepts of a model.

    Raises:
        ValueError: they differ; the message gives the first difference.
    """
    other = Domain.from_dict(data.domain)
    for what in ("classes", "concepts"):
        ours, found = getattr(model.domain, what), getattr(other, what)
        if ours != found:
            differ = next((f"'{a}' and '{b}'" for a, b in zip(ours, found, strict=False) if a != b), "one is longer")
            raise ValueError(
                f"the {what} of the checkpoint ({len(ours)}) and of {type(data).__name__} ({len(found)}) differ "
                f"({differ}); give the config that the checkpoint was trained with, --config FILE."
            )


def loader_of(data: DataModule, split: str) -> DataLoader:
    """Batches of a split, "test" or "val", in order."""
    data.prepare_data()
    data.setup("test" if split == "test" else "validate")
    return data.test_dataloader() if split == "test" else data.val_dataloader()


@torch.no_grad()
def accuracy(model: StagedModule, batches: DataLoader) -> float:
    """The share of rows whose predicted class is right."""
    right = rows = 0
    for batch in map(as_batch, batches):
        predicted: Any = model(batch["input"].to(model.device)).argmax(1).cpu()
        right += int((predicted == batch["target"].cpu()).sum())
        rows += len(predicted)
    return right / max(rows, 1)


def default_device() -> str:
    """CUDA if it is available, otherwise the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
