"""Paths given by the user: links are followed once, and what is not a regular file is refused."""

import os
from pathlib import Path

import pytest

from zoo.utils.paths import check_file, expand, find_files, walk


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(folder, {".txt"})]


def test_linked_folders_are_searched_once_and_loops_end(tmp_path: Path) -> None:
    """`Path.rglob` skips linked folders silently."""
    folder = tmp_path / "data"
    touch(folder / "b" / "one.txt")
    touch(tmp_path / "elsewhere" / "deep" / "two.TXT")
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "dangling.txt").symlink_to(tmp_path / "none")
    touch(folder / "b" / "three.csv")
    assert names(folder) == ["a/deep/two.TXT", "b/one.txt", "dangling.txt"]


def test_skipped_folders(tmp_path: Path) -> None:
    for name in ("kept/one.txt", "kept/b.txt", ".hidden/two.txt", "also/deep/three.txt"):
        touch(tmp_path / name)
    found = [(here.name, names) for here, names in walk(tmp_path, lambda name: name.startswith("."))]
    assert found == [(tmp_path.name, []), ("also", []), ("deep", ["three.txt"]), ("kept", ["b.txt", "one.txt"])]


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_files(tmp_path / "none", {".txt"})


def test_check_file(tmp_path: Path) -> None:
    check_file(touch(tmp_path / "a.txt"), "text")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    check_file(tmp_path / "link.txt", "text")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a named pipe, not a regular file; give an image file"):
        check_file(tmp_path / "pipe", "image file")
    for missing in (tmp_path / "none", tmp_path / ("x" * 300), tmp_path / "nul\0"):
        with pytest.raises(FileNotFoundError, match="no text at"):
            check_file(missing, "text")


def test_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME", "/some")
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("$SOME/x") == Path("/some/x") and expand("~/x") == Path("/home/me/x")
    with pytest.raises(ValueError, match="names an environment variable that is not set"):
        expand("$NOT_SET_AT_ALL/x")
