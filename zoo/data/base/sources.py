"""Python source files as texts."""

import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from zoo.utils.paths import check_file, expand, walk

SKIPPED = {"test", "tests", "idle_test", "lib2to3"}  # folders of the standard library: tests, and Python 2
TOPICS = "topics.py"  # the documentation as one long string


def read_files(root: str | None) -> list[str]:
    """The texts of all .py files of a folder, without their header comments, in the order of their paths.

    Installed packages (site-packages) and hidden folders are skipped.

    Args:
        root: the folder; None for the standard library, without its tests, documentation and lib2to3.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no file contains code that can be decoded.
    """
    folder = Path(sysconfig.get_paths()["stdlib"]) if root is None else expand(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}; root names a folder of .py files.")
    texts, bad, seen = [], [], 0
    for path in _paths(folder, library=root is None):
        seen += 1
        try:
            check_file(path, "file of code")
            text = without_head(path.read_text(encoding="utf-8-sig"))
        except (ValueError, OSError) as error:
            bad.append(f"{path} ({type(error).__name__})")
            continue
        if text.strip():
            texts.append(text)
    if bad:
        warnings.warn(f"{len(bad)} of {seen} files could not be read and are skipped, such as {bad[0]}.", stacklevel=2)
    if not texts:
        raise ValueError(
            f"the corpus is empty: {folder} has {seen} .py files, of which {len(bad)} cannot be read and "
            f"{seen - len(bad)} contain no code."
        )
    return texts


def _paths(root: Path, library: bool) -> Iterator[Path]:
    skipped = {"site-packages"} | (SKIPPED if library else set())
    for folder, names in walk(root, lambda name: name in skipped or name.startswith(".")):
        for name in names:
            if name.endswith(".py") and not (library and name == TOPICS):
                yield folder / name


def without_head(text: str) -> str:
    """A file without its header comments, such as a licence, and without leading empty lines."""
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return "".join(lines[first:])
