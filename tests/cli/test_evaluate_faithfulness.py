"""`train.py evaluate --metrics` and `train.py leaderboard`, from the command line on a tiny world."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from zoo.cli.main import main

TRAINER = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
DATA = {
    "class_path": "PartBirds",
    "init_args": {"side": 32, "classes": 4, "count": 64, "val_count": 12, "test_count": 16, "background": 3},
}
BAGNET = {"widths": [8, 8], "depths": [1, 1], "strides": [2, 2], "wide": 2}
STAGE = {"name": "train", "epochs": 1, "train": ["backbone", "head"]}
MODELS = {
    "bagnet_seed0": ("BagNet", {**BAGNET, "recipe": {"stages": [STAGE]}}),
    "bagnet_seed1": ("BagNet", {**BAGNET, "recipe": {"stages": [STAGE]}}),
    "twin": (
        "BlackBox",
        {"backbone": {"name": "convnet", "widths": [8], "strided": True}, "recipe": {"stages": [STAGE]}},
    ),
    "cbm": (
        "CBM",
        {
            "backbone": {"name": "convnet", "widths": [8], "strided": True},
            "recipe": {"stages": [{**STAGE, "train": ["backbone", "concepts", "head"]}]},
        },
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four finished runs, and world.yaml beside them."""
    folder = tmp_path_factory.mktemp("leaderboard")
    for name, (model, arguments) in MODELS.items():
        recipe = {"model": {"class_path": model, "init_args": arguments}, "data": DATA, "trainer": TRAINER}
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(recipe | {"seed_everything": int(name[-1]) if name[-1].isdigit() else 0}))
        assert main(["fit", "--config", str(config), "--output", str(folder / "runs" / name)]) == 0
    (folder / "world.yaml").write_text((folder / "twin.yaml").read_text())
    return folder


def evaluate(runs: Path, name: str, out: Path, *more: str) -> int:
    checkpoint = str(runs / "runs" / name / "checkpoint")
    return main(["evaluate", "--checkpoint", checkpoint, "--output", str(out), "--device", "cpu", *more])


def test_every_metric(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate(runs, "bagnet_seed0", tmp_path, "--metrics", "all", "--limit", "6") == 0
    record = json.loads((tmp_path / "faithfulness.json").read_text())
    assert record["model"] == "bagnet" and record["rows"] == 6 and record["control"] is None
    found = record["metrics"]
    assert found["M1"]["values"]["gap"]["value"] < 1e-3 and found["M5"]["values"]["leak"]["value"] < 1e-4
    column = found["M2"]["values"]["rank correlation"]
    assert column["low"] <= column["value"] <= column["high"] and column["chance"] == 0 and column["ideal"] == 1
    said = capsys.readouterr().out
    assert "bagnet · 6 test rows" in said and "mask-out agreement" in said and "faithfulness.html" in said
    drawing = ElementTree.parse(tmp_path / "faithfulness.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(drawing.iter(f"{space}circle"))) > 10 and len(list(drawing.iter(f"{space}path"))) > 5
    page = (tmp_path / "faithfulness.html").read_text()
    assert "<svg" in page and "<script" not in page and "ground-truth recovery" in page


def test_the_same_again_and_in_less_memory(runs: Path, tmp_path: Path) -> None:
    chosen = ["--metrics", "M2,evidence_deletion_gain", "--limit", "5"]
    assert evaluate(runs, "bagnet_seed0", tmp_path / "a", *chosen) == 0
    assert evaluate(runs, "bagnet_seed0", tmp_path / "b", *chosen, "--limit-memory", "1") == 0
    one, two = (json.loads((tmp_path / name / "faithfulness.json").read_text())["metrics"] for name in "ab")
    assert list(one) == ["M2", "M3"]
    for key, metric in one.items():
        for name, column in metric["values"].items():
            assert two[key]["values"][name]["value"] == pytest.approx(column["value"], abs=1e-5), (key, name)


def test_what_does_not_apply_is_said(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate(runs, "cbm", tmp_path, "--metrics", "M2,M6", "--limit", "4") == 0
    found = json.loads((tmp_path / "faithfulness.json").read_text())["metrics"]
    assert found["M2"] == {
        "title": "mask-out agreement",
        "not applicable": "needs units with a location in the input (supports)",
    }
    assert found["M6"]["values"]["effective units"]["value"] > 0
    assert "not applicable: needs units with a location" in capsys.readouterr().out


def test_explanations_in_regions(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    more = ("--metrics", "M1,M6,M7,M12,M15", "--limit", "4", "--regions", "3")
    assert evaluate(runs, "bagnet_seed0", tmp_path, *more) == 0
    found = json.loads((tmp_path / "faithfulness.json").read_text())
    assert found["regions"] == 3 and found["metrics"]["M6"]["values"]["effective units"]["value"] <= 3
    assert found["metrics"]["M1"]["values"]["gap"]["value"] == pytest.approx(0, abs=1e-5)
    for key in ("M7", "M12", "M15"):  # region 1 of one input is not that of another
        assert "the same units in every input" in found["metrics"][key]["not applicable"]
    assert "bagnet in 3 regions" in capsys.readouterr().out


def test_a_control(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate(runs, "bagnet_seed0", tmp_path, "--metrics", "M6", "--limit", "4", "--control", "monolith") == 0
    found = json.loads((tmp_path / "faithfulness.json").read_text())
    assert found["metrics"]["M6"]["values"]["effective units"]["value"] == 1 and found["control"] == "monolith"
    assert "monolith of bagnet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metrics", "M22"], "no faithfulness metric named 'M22'"),
        (["--metrics", "mask-out agreemnt"], "did you mean 'mask-out agreement'"),
        (
            ["--metrics", "M2", "--imputers", "blurr"],
            "no imputer 'blurr' for inputs of modality image; did",
        ),
    ],
)
def test_mistakes(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], message: str) -> None:
    assert evaluate(runs, "bagnet_seed0", tmp_path, "--limit", "4", *more) == 2
    assert message in capsys.readouterr().err


def test_leaderboard(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("captum")
    command = ["leaderboard", str(runs / "runs"), "--config", str(runs / "world.yaml"), "--output", str(tmp_path)]
    command += ["--limit", "4", "--metrics", "M1,M2,M6", "--device", "cpu"]
    assert main(command) == 0
    text = (tmp_path / "LEADERBOARD.md").read_text()
    record = json.loads((tmp_path / "leaderboard.json").read_text())
    assert len(record["models"]) == 4 and text in capsys.readouterr().out
    gates, vector = text.index("## Gates"), text.index("## Built-in explanations")
    beside, birds = text.index("## Built-in and post-hoc"), text.index("## The FunnyBirds protocol")
    assert gates < vector < beside < birds and "Not ranked: the units of cbm have no place" in text
    lines = {line.split("|")[1].strip(): line for line in text[gates:vector].splitlines() if line.startswith("| ")}
    assert lines["bagnet"].split("|")[2].strip() == "2" and "±" in lines["bagnet"]  # two seeds
    assert "black box" in lines["twin"]
    cut = lambda part: [[c.strip() for c in line.split("|")[1:-1]] for line in part.splitlines() if "|" in line]  # noqa: E731
    rows = cut(text[vector:beside])
    columns = {name: [row[i] for row in rows[2:]] for i, name in enumerate(rows[0])}
    assert {"", "bagnet", "cbm"} == set(columns)
    assert "n/a" in columns["cbm"] and "n/a" not in columns["bagnet"]
    pairs = {(row[0], row[1]) for row in cut(text[beside:birds])[2:]}
    methods = {"integrated gradients", "occlusion", "KernelSHAP"}
    own = {("bagnet", "built-in"), ("cbm", "built-in")}
    assert pairs == own | {(model, method) for model in ("bagnet", "cbm", "twin") for method in methods}
    assert "- cbm: its own units have no place in the input" in text and "- bagnet: the best post-hoc method is" in text
    assert "- cbm needs units with a location in the input (supports): mask-out agreement" in text
    seconds = {key: one["seconds"] for key, one in record["models"].items()}
    assert main(command) == 0  # nothing is measured twice
    again = json.loads((tmp_path / "leaderboard.json").read_text())["models"]
    assert {key: one["seconds"] for key, one in again.items()} == seconds


def test_leaderboard_of_nothing(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = ["--output", str(tmp_path), "--device", "cpu", "--config", str(runs / "world.yaml")]
    (tmp_path / "empty").mkdir()
    assert main(["leaderboard", str(tmp_path / "empty"), *out]) == 2
    assert "no trained model in" in capsys.readouterr().err
    assert main(["leaderboard", str(tmp_path / "nowhere"), *out]) == 2
    assert "no folder" in capsys.readouterr().err
    other = {**DATA, "init_args": {**DATA["init_args"], "classes": 5}}
    recipe = yaml.safe_load((runs / "twin.yaml").read_text())
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**recipe, "data": other}))
    assert main(["leaderboard", str(runs / "runs"), *out[:-1], str(tmp_path / "other.yaml")]) == 2
    assert "none of the 4 trained models has the classes of" in capsys.readouterr().err


def test_certify_and_explain(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint = tmp_path / "run" / "checkpoint"
    shutil.copytree(runs / "runs" / "bagnet_seed0", tmp_path / "run")
    assert main(["certify", "--checkpoint", str(checkpoint), "--device", "cpu"]) == 0
    assert "removal of the 3 strongest units: measured within ±" in capsys.readouterr().out
    picture = tmp_path / "bird.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    explained = ["explain", "--checkpoint", str(checkpoint), "--input", str(picture), "--output", str(tmp_path / "out")]
    assert main(explained) == 0
    said = json.loads((tmp_path / "out" / "explanations.jsonl").read_text())["statement"]
    assert said.startswith("By the contributions, the score") and "contain the right class for at least 90%" in said
    assert "By the contributions" in (tmp_path / "out" / "bird.html").read_text()
    capsys.readouterr()
    assert main(["certify", "--checkpoint", str(checkpoint), "--device", "cpu", "--level", "0.99"]) == 2
    assert "99% of inputs needs at least 99 rows; got 12" in capsys.readouterr().err
