"""The data that a checkpoint was trained on, for the commands that evaluate or change it."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from zoo.checkpoints.config_file import ABOUT, read_config
from zoo.checkpoints.shipped import ROOTS
from zoo.cli.arguments import CommandParser
from zoo.cli.run_record import domain_differences, require_same
from zoo.cli.settings import create_data
from zoo.data.base.module import DataModule
from zoo.training.batch import as_batch
from zoo.training.staged_module import StagedModule
from zoo.utils.shards import local_rank

SPLITS = ("test", "val")


def data_of(checkpoint: Path, config: Path | None, overrides: list[str], command: str) -> DataModule:
    """The data module that a checkpoint was trained on.

    Args:
        checkpoint: folder.
        config: file whose data to use; by default see `config_of`.
        overrides: arguments `--data.NAME VALUE`, see `create_data`.
        command: to which they were given, for messages.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: see `create_data`.
    """
    return create_data(config or config_of(checkpoint), overrides, command)


def config_of(checkpoint: Path) -> Path:
    """The config of the run that a checkpoint lies in; of a shipped one, the shipped config that it was trained with.

    Raises:
        FileNotFoundError: there is none.
    """
    path = checkpoint.parent / "config.yaml"
    if path.is_file():
        return path
    shipped = read_config(checkpoint).get(ABOUT, {}).get("config") if checkpoint.parent in ROOTS else None
    if shipped:
        found = next(
            (folder / shipped for folder in (Path(), checkpoint.parents[1]) if (folder / shipped).is_file()), None
        )
        if found:
            return found
        raise FileNotFoundError(
            f"{checkpoint.name} was trained with {shipped}, which is neither in this folder nor installed; run the "
            "command in a copy of the project, or give a config with --config FILE."
        )
    raise FileNotFoundError(
        f"no config at {path}, where `train.py fit` writes it, so the data of {checkpoint} is unknown; give a config "
        "with --config FILE."
    )


def require_same_domain(model: StagedModule, data: DataModule, action: str, force: bool = False) -> None:
    """Refuses data whose classes, concepts or preprocessing are not those of a model, or prints how they differ.

    Args:
        model: of a checkpoint.
        data: to be read.
        action: for the message, such as "evaluate runs/birds/checkpoint".
        force: whether the user insists.

    Raises:
        ValueError: they differ; the message names the keys.
    """
    require_same(domain_differences(model.domain.to_dict(), data.domain), action, force)


def add_force(parser: CommandParser) -> None:
    """Adds the option that allows data of another domain."""
    parser.add_argument(
        "--force",
        choices=("true", "false"),
        default="false",
        help="go on although the data differ from those of the training (default: false)",
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
    """CUDA if it is available, of which each process of a machine takes another device; otherwise the CPU."""
    return f"cuda:{local_rank() % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
