"""Files are written completely, and devices and folders are never replaced."""

import os
import stat
from pathlib import Path

import pytest

from zoo.utils.atomic import write_bytes


def test_a_device_and_a_folder_are_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"  # stands for /dev/null, which root could replace
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(FileExistsError, match="is not a regular file, so it is not replaced; choose another path"):
            write_bytes(path, b"text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_file_is_replaced_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for name in ("old", "link", "new"):
        write_bytes(tmp_path / name, name.encode())
        assert (tmp_path / name).read_bytes() == name.encode()
    assert (tmp_path / "old").read_bytes() == b"old"
