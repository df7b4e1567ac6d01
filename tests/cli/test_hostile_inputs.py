"""Broken and hostile files: none stops the folder that it is in, each is explained or named with the reason."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.cli import hostile
from tests.small_models import Small, build
from zoo.cli.main import main

GOOD = {
    "image": ("good.png", hostile.encoded("PNG")),
    "table": ("good.csv", b"width,height,hue\n1,2,3\n"),
    "series": ("good.csv", ("pulse,pressure\n" + "".join(f"{i},{-i * i}\n" for i in range(11))).encode()),
    "text": ("good.txt", b"good food, quiet place"),
    "code": ("good.py", b"for a"),
}
KINDS: dict[str, tuple[Callable[[], hostile.Files], Callable[[], Small]]] = {
    "image": (hostile.images, lambda: build("protopnet")),
    "table": (hostile.tables, lambda: build("cbm")),
    "series": (hostile.series, lambda: build("sop", "series")),
    "text": (hostile.texts, lambda: build("c3m")),
    "code": (hostile.prompts, lambda: build("sparse_transformer")),
}
NAMES = (
    "\x1b[31mred",
    "a\nb",
    "line\u2028line",
    "\u202egnp",
    "javascript:alert(1)",
    "a#b?c%20'd\"",
    "<b>",
    "x" * 251,
    " ",
)


def explain(checkpoint: Path, folder: Path, out: Path, *more: str) -> int:
    return main(["explain", "--checkpoint", str(checkpoint), "--input", str(folder), "--output", str(out), *more])


def records(out: Path) -> list[dict]:
    lines = (out / "explanations.jsonl").read_bytes().split(b"\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in lines if line]


def test_there_are_many() -> None:
    assert sum(len(list(files())) for files, _ in KINDS.values()) >= 150


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_stops_a_folder(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files, model = KINDS[kind]
    checkpoint, folder = zoo.save(model().model.eval(), tmp_path / "model"), tmp_path / "in"
    folder.mkdir()
    good = GOOD[kind]
    ending = Path(good[0]).suffix
    for name, content in (good, *files()):
        (folder / name).write_bytes(content)
    os.mkfifo(folder / f"pipe{ending}")
    (folder / f"endless{ending}").symlink_to("/dev/zero")
    (folder / f"lost{ending}").symlink_to("nowhere")
    (folder / f"circle{ending}").symlink_to(f"circle{ending}")
    names = {path.name for path in folder.iterdir()}
    assert explain(checkpoint, folder, tmp_path / "out", "--pages", "3") == 1
    told = capsys.readouterr()
    skipped = {name for name in names if re.search(rf"skipped: .*/{re.escape(name)}\b", told.err)}
    explained = {Path(re.sub(r" row \d+$", "", one["input"])).name for one in records(tmp_path / "out")}
    assert good[0] in explained and explained | skipped == names
    assert {f"{name}{ending}" for name in ("pipe", "endless", "lost", "circle")} <= skipped
    assert "\x1b" not in told.err + told.out and "Error: " not in told.err, told.err


def test_odd_names_have_pages(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Names that are not UTF-8, are too long for ".html", or would be a link, a command to the terminal, or markup."""
    checkpoint, folder, out = (
        zoo.save(build("protopnet").model.eval(), tmp_path / "model"),
        tmp_path / "in",
        tmp_path / "out",
    )
    folder.mkdir()
    names = [f"{name}.png".encode() for name in NAMES] + [b"caf\xe9.png"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(hostile.encoded("PNG"))
    assert explain(checkpoint, folder, out) == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err and "\\x1b[31mred.png" in told.out and "caf\\xe9.png" in told.out
    found = records(out)
    assert {os.fsencode(Path(one["input"]).name) for one in found} == set(names)
    pages = {one["page"] for one in found}
    assert len(pages) == len(names) and all((out / page).is_file() for page in pages)
    index = (out / "index.html").read_text(encoding="utf-8")
    assert index.count("<a href='./") == len(names) and "\x1b" not in index and "<b>" not in index
    assert explain(checkpoint, folder, out) == 0  # U+2028 and line breaks in names do not break the log
    assert f"{len(names)} of {len(names)} inputs are explained already" in capsys.readouterr().out
