"""Paths given by the user."""

import os
from pathlib import Path


def expand(path: str | Path) -> Path:
    """A path given by the user, with ~ and environment variables filled in.

    Raises:
        ValueError: the path names an environment variable that is not set.
    """
    filled = os.path.expandvars(Path(path).expanduser())
    if "$" in filled:
        raise ValueError(f"{path} names an environment variable that is not set; set it, or give the full path.")
    return Path(filled)
