"""Loading a checkpoint by name: a folder, one shipped with the package, or one of the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.checkpoints.config_file import CONFIG, WEIGHTS
from zoo.checkpoints.shipped import find_shipped, list_checkpoints
from zoo.utils.errors import did_you_mean

if TYPE_CHECKING:
    import torch

    from zoo.core.module import SelfInterpretable

HUB = "hub:"


def load_checkpoint(
    name: str | Path, *, device: "str | torch.device" = "cpu", dtype: "str | torch.dtype" = "float32"
) -> "SelfInterpretable":
    """Reads a checkpoint into a model in evaluation mode.

    Args:
        name: a folder written by `save`; the folder of a run of `fit`, or the checkpoint in it; one of
            `list_checkpoints()`; or "hub:owner/name@revision".
        device: where the model computes, such as "cuda:1".
        dtype: in which it computes, whatever its weights are stored as: "float32"; "float64"; or "float16" or
            "bfloat16", for which a warning tells how far scores and sums are off on the checkpoint's golden inputs.

    Raises:
        FileNotFoundError: there is no such checkpoint; the message lists those that exist.
        ValueError: the checkpoint is damaged, see `zoo.checkpoints.load`; there is no such device; or with this type
            the model cannot compute, or its contributions would not add up to its scores.
        ConnectionError: the download failed.
    """
    # Here, because finding a checkpoint should not import torch.
    from zoo.checkpoints.load import load
    from zoo.checkpoints.placement import convert, device_of, dtype_of

    where, kind = device_of(device), dtype_of(dtype)  # checked before anything is read
    folder = find(name)
    return convert(load(folder), kind, folder).to(where)


def find(name: str | Path) -> Path:
    """The folder of a checkpoint, downloaded if it is on the hub. A folder takes precedence over a shipped checkpoint.

    The folder of a run stands for the checkpoint in it.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: see `load_checkpoint`.
    """
    if str(name).startswith(HUB):
        from zoo.checkpoints.hub import fetch

        return fetch(str(name).removeprefix(HUB))
    path = Path(name)
    if (path / "checkpoint" / CONFIG).is_file() and not (path / WEIGHTS).exists():
        return path / "checkpoint"
    if path.exists() or len(path.parts) > 1 or path.is_absolute():
        return path  # what is wrong with it, if anything, is reported when it is read
    if shipped := find_shipped(str(path)):
        return shipped
    known = list_checkpoints()
    tip = did_you_mean(str(name), known) if known else "this installation has none."
    raise FileNotFoundError(
        f"no checkpoint '{name}': it is neither a folder nor a shipped checkpoint; {tip} Give a folder written by "
        "`train.py fit` or zoo.save(), a name, or hub:owner/name."
    )
