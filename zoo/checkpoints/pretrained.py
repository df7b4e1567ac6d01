"""Checkpoints by name: those shipped with the package and those of the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.checkpoints.config_file import CONFIG, recover
from zoo.utils.errors import did_you_mean

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable

HERE = Path(__file__).resolve().parents[1]
ROOTS = (HERE / "_checkpoints", HERE.parent / "checkpoints")  # of an installed package and of a source checkout
HUB = "hub:"


def list_checkpoints() -> list[str]:
    """Names of the checkpoints shipped with the package, for `zoo.load`."""
    found = {file.parent.name for root in ROOTS for file in root.glob(f"*/{CONFIG}")}
    return sorted(name for name in found if not name.startswith("."))  # left over if saving was killed


def load_checkpoint(name: str | Path) -> "SelfInterpretable":
    """Reads a checkpoint into a model in evaluation mode, on the CPU.

    Args:
        name: a folder written by `fit` or `save`, one of `list_checkpoints()`, or "hub:owner/name@revision".

    Raises:
        FileNotFoundError: there is no such checkpoint; the message lists those that exist.
        ValueError: the checkpoint is damaged, see `zoo.checkpoints.load`.
        ConnectionError: the download failed.
    """
    from zoo.checkpoints.load import load  # here, because listing checkpoints should not import torch

    return load(find(name))


def find(name: str | Path) -> Path:
    """The folder of a checkpoint, downloaded if it is on the hub. A folder takes precedence over a shipped checkpoint.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: see `load_checkpoint`.
    """
    if str(name).startswith(HUB):
        from zoo.checkpoints.hub import fetch

        return fetch(str(name).removeprefix(HUB))
    path = Path(name)
    if path.exists() or len(path.parts) > 1 or path.is_absolute():
        return path  # what is wrong with it, if anything, is reported when it is read
    for root in ROOTS:
        recover(root / path)
        if (root / path / CONFIG).is_file():
            return root / path
    known = list_checkpoints()
    tip = did_you_mean(str(name), known) if known else "this installation has none."
    raise FileNotFoundError(
        f"no checkpoint '{name}': it is neither a folder nor a shipped checkpoint; {tip} Give a folder written by "
        "`train.py fit` or zoo.save(), a name, or hub:owner/name."
    )
