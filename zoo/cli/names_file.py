"""Files of names that `train.py name` wrote, for commands that use them."""

import argparse
from pathlib import Path

from zoo.checkpoints.config_file import content_hash, read_config
from zoo.core.unit_names import UnitNames, read_names

CHECKPOINT = "checkpoint"  # key of its hash in a file of names


def names_for(path: Path | None, checkpoint: Path) -> UnitNames | None:
    """The names in a file of this command, for a checkpoint; None without a file.

    Raises:
        FileNotFoundError, ValueError: see `read_names`; or they are of another checkpoint.
    """
    if path is None:
        return None
    found = read_names(path)
    if found.about.get(CHECKPOINT) != checkpoint_hash(checkpoint):
        raise ValueError(
            f"{path} has the names of another checkpoint, or of another version of {checkpoint}; write them anew with "
            f"`python train.py name --checkpoint {checkpoint} --output {path}`."
        )
    return found


def checkpoint_hash(checkpoint: Path) -> str:
    """The hash of the content of a checkpoint."""
    return content_hash(read_config(checkpoint))


def add_names(parser: argparse.ArgumentParser) -> None:
    """Adds the option that takes a file of names."""
    parser.add_argument("--names", type=Path, metavar="FILE", help="names of units that `name` wrote")
