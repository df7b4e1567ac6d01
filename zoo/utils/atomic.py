"""Files that are either old or new, never half: written beside, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, readable as the user's umask says.

    Raises:
        OSError: it could not be written; what was there is untouched.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file; a symbolic link at `path` is replaced, its target is left alone.

    Raises:
        FileExistsError: the path is a folder or a device, such as /dev/null.
        OSError: it could not be written; what was there is untouched.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces the one at `path` when all is written; see `write_bytes`."""
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is not a regular file, so it is not replaced; choose another path.")
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def umask() -> int:
    """The permissions that the user withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
