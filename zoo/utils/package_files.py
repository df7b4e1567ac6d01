"""Where files that come with this package are, in an installation and in a source checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOTS = (PACKAGE / "_checkpoints", PACKAGE.parent / "checkpoints")  # of an installed package and of a source checkout
BACKBONES = "backbones"  # folder beside checkpoints, for what several of them share


def shipped_backbones() -> dict[str, Path]:
    """The files of backbones that come with this package, by file name."""
    return {path.name: path for root in ROOTS for path in sorted((root / BACKBONES).glob("*.safetensors"))}
