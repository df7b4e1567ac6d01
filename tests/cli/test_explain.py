"""`train.py explain` of many files: lines as it goes, pages for the first, and going on where it was."""

import json
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

import zoo
from tests.small_models import SMALL
from zoo.cli.main import main


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint of a small model of images, and a folder of six pictures and a file that is none."""
    folder = tmp_path_factory.mktemp("explaining")
    torch.manual_seed(0)
    small = SMALL["protopnet"]()
    zoo.save(small.model.eval(), folder / "model")
    (folder / "pictures").mkdir()
    for i in range(6):
        channels = small.model.domain.channels
        picture = torch.randint(0, 256, (channels, *small.model.domain.size), dtype=torch.uint8)
        write_png(picture, str(folder / "pictures" / f"{i}.png"))
    return folder / "model", folder / "pictures"


def run(saved: tuple[Path, Path], out: Path, *more: str) -> int:
    return main(["explain", "--checkpoint", str(saved[0]), "--input", str(saved[1]), "--output", str(out), *more])


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]


def test_a_line_for_each_and_pages_for_the_first(saved: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    assert run(saved, tmp_path, "--pages", "2", "--top", "3") == 0
    found = lines(tmp_path)
    assert [Path(one["input"]).name for one in found] == [f"{i}.png" for i in range(6)]
    assert all(len(one["evidence"]) == 3 and one["checkpoint"] == str(saved[0]) for one in found)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.html", "0.json", "1.html", "1.json", "explanations.jsonl", "index.html",
    ]  # fmt: skip
    assert "6 inputs in" in capsys.readouterr().out
    model = zoo.load(saved[0])
    told = model.explain_file(saved[1] / "4.png")
    assert (
        found[4]["score"] == pytest.approx(told.score.item(), abs=1e-5) and found[4]["target"] == told.target_names[0]
    )
    total = json.loads((tmp_path / "1.json").read_text())
    found = total["bias"] + sum(t["contribution"] for t in total["evidence"])
    assert found == pytest.approx(total["explained_score"], abs=1e-4)


def test_it_goes_on_where_it_was(saved: tuple[Path, Path], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("zoo.cli.explain.BATCH", 2)
    assert run(saved, tmp_path) == 0
    whole = (tmp_path / "explanations.jsonl").read_text()
    kept = whole.splitlines()
    (tmp_path / "explanations.jsonl").write_text("\n".join([*kept[:3], kept[3][:40]]))  # killed in the fourth line
    (tmp_path / "index.html").unlink()
    capsys.readouterr()
    assert run(saved, tmp_path) == 0
    assert "2 of 6 inputs are explained already" in capsys.readouterr().out
    assert (tmp_path / "explanations.jsonl").read_text() == whole
    assert (tmp_path / "index.html").read_text().count("<li>") == 6
    assert run(saved, tmp_path, "--again") == 0 and "already" not in capsys.readouterr().out
    assert run(saved, tmp_path, "--target", "0") == 0  # other options: nothing of the earlier call counts
    assert len({one["target"] for one in lines(tmp_path)}) == 1 and len(lines(tmp_path)) == 6


def test_what_cannot_be_read_is_skipped_and_said(saved: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "in" / "good.png").write_bytes((saved[1] / "0.png").read_bytes())
    command = [
        "explain",
        "--checkpoint",
        str(saved[0]),
        "--input",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "skipped" in told.err and "bad.png" in told.err and "1 of 2 inputs could not be explained" in told.err
    assert len(lines(tmp_path / "out")) == 1
    assert main(command) == 1 and len(lines(tmp_path / "out")) == 1  # tried again, and the good one is kept


def test_why_not_another_class(saved: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    assert run(saved, tmp_path, "--target", "0", "--versus", "1", "--pages", "1") == 0
    model = zoo.load(saved[0])
    first, second = model.domain.classes[:2]
    for one in lines(tmp_path):
        scores = model(model.domain.read(one["input"])[None])[0]
        assert one["score"] == pytest.approx((scores[0] - scores[1]).item(), abs=1e-4) and one["space"] == "margin"
        assert one["target"].startswith(f"{first} rather than {second}")
    assert f"{first} rather than {second}" in (tmp_path / "0.html").read_text()
    assert run(saved, tmp_path, "--versus", "nobody") == 2 and "nobody" in capsys.readouterr().err
    assert run(saved, tmp_path, "--pages", "-1") == 2 and "--pages must be at least 0" in capsys.readouterr().err


def test_scores_that_are_no_sums_have_no_margin(tmp_path: Path, saved: tuple[Path, Path], capsys) -> None:
    torch.manual_seed(0)
    zoo.save(SMALL["prototree"]().model.eval(), tmp_path / "tree")
    command = ["explain", "--checkpoint", str(tmp_path / "tree"), "--input", str(saved[1]), "--versus", "1"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 2
    assert "--versus requires an additive model; ProtoTree is not additive" in capsys.readouterr().err


def test_units_that_lie_together_are_joined(saved: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    assert run(saved, tmp_path, "--regions", "4", "--pages", "1") == 0
    own, found = zoo.load(saved[0]).explain_file(saved[1] / "0.png"), lines(tmp_path)[0]
    names = {f"region {n}" for n in (1, 2)} | {"elsewhere, for", "elsewhere, against"}
    assert {one["unit"] for one in found["evidence"]} <= names and found["explained_score"] == pytest.approx(
        own.relative_score.item(), abs=1e-5
    )
    assert "joined into regions" in (tmp_path / "0.html").read_text()
    capsys.readouterr()
    assert run(saved, tmp_path, "--regions", "2") == 2
    assert "at least 3 regions" in capsys.readouterr().err
    assert run(saved, tmp_path, "--regions", "4", "--record") == 2
    assert "leave out one" in capsys.readouterr().err
