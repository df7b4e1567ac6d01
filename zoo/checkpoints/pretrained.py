"""Checkpoints by name: those that come with the package, and those of the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.checkpoints.config_file import CONFIG, recover
from zoo.utils.errors import did_you_mean

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable

HERE = Path(__file__).resolve().parents[1]
ROOTS = (HERE / "_checkpoints", HERE.parent / "checkpoints")  # of an installed package, and of a checkout
HUB = "hub:"


def list_checkpoints() -> list[str]:
    """Names of the checkpoints that come with the package, each of which `load` takes."""
    found = {file.parent.name for root in ROOTS for file in root.glob(f"*/{CONFIG}")}
    return sorted(name for name in found if not name.startswith("."))  # those are left of saving that was killed


def load_checkpoint(name: str | Path) -> "SelfInterpretable":
    """Reads a checkpoint into a model in evaluation mode, on the CPU.

    Args:
        name: a folder written by `fit` or `save`, one of `list_checkpoints()`, or "hub:owner/name@revision".

    Raises:
        FileNotFoundError: there is no such checkpoint; the message says what is there.
        ValueError: it is damaged, see `zoo.checkpoints.checkpoint.load`.
        ConnectionError: the hub cannot be reached.
    """
    from zoo.checkpoints.checkpoint import load  # to tell what there is needs no torch

    return load(find(name))


def find(name: str | Path) -> Path:
    """The folder of a checkpoint, which is fetched if it is one of the hub; folders go before names.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: see `load_checkpoint`.
    """
    if str(name).startswith(HUB):
        from zoo.checkpoints.hub import fetch

        return fetch(str(name).removeprefix(HUB))
    path = Path(name)
    if path.exists() or len(path.parts) > 1 or path.is_absolute():
        return path  # reading it says what is wrong, if anything is
    for root in ROOTS:
        recover(root / path)
        if (root / path / CONFIG).is_file():
            return root / path
    known = list_checkpoints()
    tip = did_you_mean(str(name), known) if known else "none comes with this installation."
    raise FileNotFoundError(
        f"no checkpoint '{name}': there is no such folder, and of the checkpoints by name {tip} Give a folder written "
        "by `train.py fit` or zoo.save(), or hub:owner/name."
    )
