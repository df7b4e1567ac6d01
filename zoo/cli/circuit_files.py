"""Where the circuits of a checkpoint are. Does not import torch."""

from pathlib import Path

from zoo.checkpoints.config_file import CIRCUITS


def circuits_of(checkpoint: Path) -> list[Path]:
    """Files of the circuits in the folder `circuits` of a checkpoint, and in CHECKPOINT-circuits beside it."""
    folders = (checkpoint / CIRCUITS, checkpoint.with_name(f"{checkpoint.name}-circuits"))
    found = (path for folder in folders for path in sorted(folder.glob("*.safetensors")))
    return [path for path in found if not path.name.endswith(".contexts.safetensors")]
