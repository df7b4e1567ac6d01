"""The folder of a run: one fit at a time, and nothing in it that is left of an earlier one."""

import fcntl
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LOCK = ".lock"
TRAINED = ("best.ckpt", "last.ckpt", "checkpoint", "metrics.json")  # a new fit may not lose these without a word
OWN = (  # what a fit, a test and a prediction leave in the folder
    *TRAINED,
    "best.ckpt.part",
    "last.ckpt.part",
    "confusion.csv",
    "confusion.png",
    "validation_metrics.json",
    "validation_confusion.csv",
    "validation_confusion.png",
    "run.json",
    "config.yaml",
    "predictions.csv",
    "logs",
)
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # 0 or missing for the first process


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM); exits with 143, as a shell expects."""

    def __init__(self) -> None:
        super().__init__(143)


def first_process() -> bool:
    """Whether this is the only process of the command, or the first of several that train together."""
    return not any(int(os.environ.get(name) or 0) for name in RANKS)


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
    if not first_process():
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
        except OSError as error:  # some network file systems have no locks
            warnings.warn(f"{folder} cannot be locked ({error}); run one fit at a time in it.", stacklevel=2)
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
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def end(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
