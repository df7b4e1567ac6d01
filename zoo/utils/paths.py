"""Paths given by the user: variables in them, files below a folder, and what is not a regular file."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def expand(path: str | Path) -> Path:
    """A path given by the user, with ~ and environment variables filled in.

    Raises:
        ValueError: the path names an environment variable that is not set.
    """
    filled = os.path.expandvars(Path(path).expanduser())
    if "$" in filled:
        raise ValueError(f"{path} names an environment variable that is not set; set it, or give the full path.")
    return Path(filled)


def check_file(path: Path, what: str) -> None:
    """Refuses a path that is not a regular file, such as a pipe, which must not be opened.

    Args:
        path: of the file; links are followed.
        what: the expected content, for the message, such as "image file".

    Raises:
        FileNotFoundError: there is no such file, or it is a folder.
        ValueError: it is not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError for a NUL character in the path
        raise FileNotFoundError(f"no {what} at {path}.") from error
    if stat.S_ISDIR(mode):
        raise FileNotFoundError(f"no {what} at {path}: it is a folder.")
    if not stat.S_ISREG(mode):
        kind = next((kind for test, kind in KINDS if test(mode)), "special")
        raise ValueError(f"{path} is {kind}, not a regular file; give {'an' if what[0] in 'aeiou' else 'a'} {what}.")


def read_text(path: Path, what: str) -> str:
    """The content of a text file in UTF-8.

    Args:
        path: of the file.
        what: the expected content, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a regular file, or not UTF-8 text.
    """
    check_file(path, what)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); convert it, or leave it out.") from error


def find_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """All files below a folder with one of some endings, sorted by path; see `walk` for links.

    Args:
        folder: where to search.
        endings: in lower case, such as ".png"; file names are compared in lower case.

    Raises:
        OSError: a folder cannot be read.
    """
    found = (here / name for here, names in walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower() in endings)


def walk(folder: Path, skip: Callable[[str], bool] = lambda name: False) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all folders below it, each with the sorted names of its files; parents before children.

    Links to folders are followed; a folder that is reached a second time, such as through a loop, is left out.

    Args:
        folder: where to begin.
        skip: whether to leave out a subfolder of that name, and everything below it.

    Raises:
        OSError: a folder cannot be read.
    """
    visited: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise error

    for here, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not skip(name))
        yield Path(here), sorted(names)
