"""The checkpoints shipped with the package, by name. Does not import torch."""

from pathlib import Path

from zoo.checkpoints.config_file import CONFIG, recover
from zoo.utils.package_files import ROOTS


def list_checkpoints() -> list[str]:
    """Names of the checkpoints shipped with the package, for `zoo.load`."""
    found = {file.parent.name for root in ROOTS for file in root.glob(f"*/{CONFIG}")}
    return sorted(name for name in found if not name.startswith("."))  # those are left over if saving was killed


def find_shipped(name: str) -> Path | None:
    """The folder of a shipped checkpoint; None if there is none of this name."""
    for root in ROOTS:
        recover(root / name)
        if (root / name / CONFIG).is_file():
            return root / name
    return None
