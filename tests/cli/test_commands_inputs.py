"""`train.py explain` for texts and tables."""

import json
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import c3m, cbm
from zoo.cli.main import main
from zoo.data import ConceptToy


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return zoo.save(c3m().model, tmp_path / "c3m")


def explain(checkpoint: Path, output: Path, *inputs: str) -> int:
    return main(["explain", "--checkpoint", str(checkpoint), "--output", str(output), "--input", *inputs])


def test_a_text_on_the_command_line(texts: Path, tmp_path: Path) -> None:
    assert explain(texts, tmp_path / "out", "Good <b>food</b>, loud place", "quiet " * 90) == 0
    page = (tmp_path / "out" / "text.html").read_text()
    unknown = "<span class='unknown' title='unknown to the model'>"
    assert f"<bdi>Good</bdi> <bdi>{unknown}&lt;b&gt;</span>food{unknown}&lt;/</span></bdi>" in page  # as it was written
    assert "<span class='faded'>b&gt;, loud place</span>" in page and "\u2039?\u203a" not in page
    record = json.loads((tmp_path / "out" / "text.json").read_text())
    assert record["input"] == "Good <b>food</b>, loud place" and len(record["evidence"]) == 4
    assert {"probability", "absent", "present"} <= set(record["evidence"][0])
    assert (tmp_path / "out" / "text-2.html").is_file()


def test_a_file_and_a_folder_of_texts(texts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "a.txt").write_text("good food")
    (folder / "b.txt").write_text("bad place")
    (folder / "c.png").write_text("no text")
    assert explain(texts, tmp_path / "out", str(folder)) == 0
    pages = {"a.html", "a.json", "b.html", "b.json", "index.html"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == pages | {"explanations.jsonl"}


def test_a_missing_file_of_text_is_named(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert explain(texts, tmp_path / "out", str(tmp_path / "none.txt")) == 2
    assert "no text file at" in capsys.readouterr().err


def test_a_row_of_a_table(tmp_path: Path) -> None:
    checkpoint = zoo.save(cbm().model, tmp_path / "cbm")
    row = tmp_path / "row.csv"
    row.write_text("width,height,hue\n1.5,-2,0.25\n")
    assert explain(checkpoint, tmp_path / "out", str(row)) == 0
    page = (tmp_path / "out" / "row.html").read_text()
    assert "<bdi>width</bdi>" in page and all(f"<bdi>{value}</bdi>" in page for value in ("1.5", "-2", "0.25"))
    row.write_text("width,height\n1.5,-2\n")
    assert explain(checkpoint, tmp_path / "out", str(row)) == 2


def test_file_names_are_no_texts(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Regression: review.md was explained as the words "review", "." and "md"."""
    review = tmp_path / "review.md"
    review.write_text("good food")
    (tmp_path / "notes").write_text("good food")
    for given in (str(review), str(tmp_path / "notes")):
        assert explain(texts, tmp_path / "out", given) == 2
        error = capsys.readouterr().err
        assert (
            "looks like a file; texts are read from " in error and ".csv, .tsv, .txt files, or given in quotes" in error
        )
    assert explain(texts, tmp_path / "out", "reviews.csv") == 2  # a table of texts that does not exist
    assert "reviews.csv" in capsys.readouterr().err
    assert explain(texts, tmp_path / "out", "quiet") == 0
    assert explain(texts, tmp_path / "out", "Good food. Quiet.") == 0


def test_targets_by_number_and_outputs_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint = zoo.save(cbm().model, tmp_path / "cbm")
    (tmp_path / "row.csv").write_text("width,height,hue\n1.5,-2,0.25\n")
    command = ["explain", "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main([*command, "--input", str(tmp_path / "row.csv"), "--target", "2"]) == 0
    assert json.loads((tmp_path / "out" / "row.json").read_text())["target"] == "star"
    assert main([*command, "--input", str(tmp_path / "row.csv"), "--target", "7"]) == 2
    assert "target 7 is out of range" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*command, "--input", str(tmp_path / "empty")]) == 2
    assert "without a file to explain; this model reads .csv" in capsys.readouterr().err
    (tmp_path / "row.csv").write_text("width,height\n1.5,-2\n")
    assert main([*command, "--input", str(tmp_path / "row.csv")]) == 2
    assert "row.csv: the row has no feature 'hue'" in capsys.readouterr().err
    command[4] = str(tmp_path / "row.csv")
    assert main([*command, "--input", str(tmp_path / "row.csv")]) == 2
    assert "--output must be a folder" in capsys.readouterr().err


def test_every_row_of_a_table_is_an_input(tmp_path: Path, capsys) -> None:
    data = ConceptToy("xor", count=100)
    model = zoo.create_model("cbm", domain=data.domain, backbone={"name": "mlp", "widths": [4]})
    checkpoint, table, out = tmp_path / "cbm", tmp_path / "rows.csv", tmp_path / "out"
    zoo.save(model.eval(), checkpoint)
    table.write_text("x,y\n0.1,0.9\n0.7,no\n0.2,0.3\n")
    assert explain(checkpoint, out, str(table)) == 1
    told = capsys.readouterr().err
    assert "rows.csv row 2: feature 'y' must be a finite number; got 'no'" in told and "1 of 3 inputs" in told
    found = [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]
    assert [one["title"] for one in found] == ["rows.csv row 1", "rows.csv row 3"]
    scores = model(torch.tensor([[0.1, 0.9], [0.2, 0.3]]))
    assert [one["score"] for one in found] == pytest.approx(scores.amax(1).tolist(), abs=1e-5)
    assert (out / "rows-row-3.html").is_file()
    assert explain(checkpoint, out, str(table)) == 1
    assert "2 of 3 inputs are explained already" in capsys.readouterr().out
