"""One fit in a folder at a time, and nothing in it that is left of an earlier one."""

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from zoo.cli.run_folder import Terminated, clear, ends_on_sigterm, locked
from zoo.utils.atomic import write_text


def _hold(folder: Path, ready: object, release: object) -> None:
    with locked(folder):
        ready.set()  # pyright: ignore
        release.wait(30)  # pyright: ignore


def test_a_second_fit_is_refused_and_the_lock_ends_with_the_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path / "run", ready, release))
    first.start()
    assert ready.wait(30)
    message = f"another fit is running in .*run \\(process {first.pid}\\)"
    with pytest.raises(FileExistsError, match=message), locked(tmp_path / "run"):
        pass
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join(30)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())
    assert not (tmp_path / "run" / ".lock").exists()


def test_only_the_first_process_of_a_distributed_fit_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path):
        monkeypatch.setenv("LOCAL_RANK", "1")
        with locked(tmp_path):
            pass


def test_sigterm_ends_with_143_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as caught, ends_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) == before


def test_clearing_removes_what_a_run_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.yaml").write_text("")
    kept = tmp_path / "notes.txt"
    kept.write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "logs").symlink_to(outside)
    for name in ("best.ckpt", "last.ckpt", "metrics.json", "run.json"):
        (tmp_path / name).write_text("old")
    clear(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "outside"] and kept.read_text() == "mine"


def test_a_file_is_old_or_new_and_readable_as_the_umask_says(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("theirs")
    link.symlink_to(target)
    mask = os.umask(0o027)
    try:
        write_text(link, "ours é")
    finally:
        os.umask(mask)
    assert target.read_text() == "theirs" and link.read_text(encoding="utf-8") == "ours é" and not link.is_symlink()
    assert stat.S_IMODE(link.stat().st_mode) == 0o640
    with pytest.raises(OSError):
        write_text(tmp_path / "no" / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "target"]
