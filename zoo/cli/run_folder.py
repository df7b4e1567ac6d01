"""The folder of a run: one fit at a time, and nothing in it that is left of an earlier one."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LOCK = ".lock"
OWN = (  # what a fit, a test and a prediction leave in the folder
    "best.ckpt",
    "last.ckpt",
    "checkpoint",
    "metrics.json",
    "confusion.csv",
    "run.json",
    "config.yaml",
    "predictions.csv",
    "logs",
)


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM); exits with 143, as a shell expects."""

    def __init__(self) -> None:
        super().__init__(143)


def clear(folder: Path) -> None:
    """Removes everything that an earlier run left; other files stay.

    Raises:
        OSError: something could not be removed.
    """
    for name in OWN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other fits out of a folder; the lock ends with the process, however it ends.

    Raises:
        FileExistsError: another process trains in this folder.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) or int(os.environ.get("RANK", 0)):
        yield  # the first process of a distributed fit holds the lock
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FileExistsError(
                f"another fit is running in {folder} (process {file.read().strip() or 'unknown'}); wait for it, or "
                "choose another --output."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exception that ends the process with 143; epochs that were completed are on the disk."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
