"""`train.py evaluate`: what it writes, where its data comes from, and one clear line for every mistake."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.checkpoint_data import config_of
from zoo.cli.main import main
from zoo.data import ConceptToy
from zoo.interventions.cached_evidence import cache_evidence
from zoo.interventions.policies import make_policies
from zoo.interventions.protocol import Protocol
from zoo.interventions.sweep import sweep

RECIPE = {
    "model": {
        "class_path": "CEM",
        "init_args": {
            "backbone": {"name": "mlp", "widths": [16]},
            "width": 4,
            "recipe": {
                "stages": [{"name": "joint", "epochs": 3, "train": ["backbone", "concepts", "head"]}],
                "lr": 0.01,
            },
        },
    },
    "data": {"class_path": "ConceptToy", "init_args": {"name": "trig", "count": 300}},
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run."""
    tmp = tmp_path_factory.mktemp("evaluate")
    (tmp / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(["fit", "--config", str(tmp / "tiny.yaml"), "--output", str(tmp / "run")]) == 0
    return tmp / "run"


def arguments(run: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", "--checkpoint", str(run / "checkpoint"), "--output", str(out), "--device", "cpu", *more]


def test_all_policies(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(run, tmp_path, "--interventions", "all")) == 0
    record = json.loads((tmp_path / "interventions.json").read_text())
    assert record["model"] == "cem" and record["split"] == "test" and record["rows"] == 60
    assert record["groups"] == ["a positive", "b positive", "c positive"]
    assert record["protocol"]["orders"] == 5 and record["protocol"]["competences"] == [1.0, 0.0]
    names = [curve["policy"] for curve in record["curves"]]
    assert len(names) == 22 and {"random", "lcp", "coop", "val_improvement"} <= set(names) and "learned" not in names
    model = zoo.load(run / "checkpoint")
    cached = cache_evidence(model, ConceptToy("trig", count=300).test_dataloader())
    curves = sweep(model, cached, make_policies(["random", "coop"], model, cached), Protocol())
    for curve in curves:
        (theirs,) = (c for c in record["curves"] if c["policy"] == curve.policy and c["competence"] == 1)
        assert theirs == json.loads(json.dumps(curve.to_dict()))
    alone = json.loads((run / "metrics.json").read_text())["accuracy"]
    assert all(curve["accuracy"][0] == pytest.approx(alone, abs=1e-6) for curve in record["curves"])
    said = capsys.readouterr().out
    assert "cem · 60 test rows · 3 concept groups" in said and "val_error" in said and "wrong labels" in said


def test_figure(run: Path, tmp_path: Path) -> None:
    assert main(arguments(run, tmp_path, "--interventions", "random,greedy", "--competence", "1")) == 0
    drawing = ElementTree.parse(tmp_path / "interventions.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert {t.text for t in drawing.iter(f"{space}title")} == {"random", "greedy"}
    assert len(list(drawing.iter(f"{space}polyline"))) == 2 and len(list(drawing.iter(f"{space}polygon"))) == 1
    page = (tmp_path / "interventions.html").read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "<script" not in page
    assert "<th scope='row'>greedy</th>" in page


def test_options_reach_the_protocol(run: Path, tmp_path: Path) -> None:
    chosen = ["--groups", "c positive,a positive", "--orders", "2", "--reduce", "max", "--rescore", "never", "--tune"]
    more = ["--split", "val", "--competence", "0.5", "--level", "class", "--seed", "3"]
    assert main(arguments(run, tmp_path, "--interventions", "coop,random", *chosen, *more)) == 0
    record = json.loads((tmp_path / "interventions.json").read_text())
    assert record["groups"] == ["c positive", "a positive"] and record["split"] == "val" and record["rows"] == 30
    expected = {"orders": 2, "reduce": "max", "rescore": False, "competences": [0.5], "level": "class", "seed": 3}
    assert expected.items() <= record["protocol"].items()
    coop, random = record["curves"]
    assert coop["settings"].keys() == {"alpha", "beta"} and random["orders"] == 2 and len(random["std"]) == 3


def test_data_of_another_config_and_of_the_command_line(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    zoo.save(zoo.load(run / "checkpoint"), alone / "checkpoint")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"data": RECIPE["data"]}))
    more = ["--config", str(tmp_path / "other.yaml"), "--data.init_args.count", "200", "--data.seed=4"]
    assert main(arguments(alone, tmp_path, "--interventions", "random", *more)) == 0
    assert json.loads((tmp_path / "interventions.json").read_text())["rows"] == 40


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "evaluate needs --interventions or --sparsity or --selection or --episodes or --metrics"),
        (["--interventions", "cop"], "no intervention policy named 'cop'; did you mean 'coop'?"),
        (["--interventions", "learned"], "the policy 'learned' needs a policy of its own"),
        (["--interventions", "all", "--groups", "d positive"], "no concept group named 'd positive'; did you mean"),
        (["--interventions", "all", "--competence", "2"], "competence must be in [0, 1]; got 2.0"),
        (["--interventions", "all", "--invisible", "skip"], "add a mask 'visible' (B, k) to the batches"),
        (["--interventions", "all", "--reduce", "sum"], "reduce must be one of mean, max; got 'sum'"),
        (["--interventions", "all", "--ordres", "3"], "evaluate has no option '--ordres'; did you mean '--orders'?"),
        (["--interventions", "all", "--data.init_args.cuont", "3"], "no key 'cuont'; did you mean 'count'?"),
        (["--interventions", "all", "--data.init_args.count"], "--data.init_args.count needs a value"),
        (
            ["--interventions", "all", "--data.init_args.name", "dot"],
            "domain.classes: entry 0 was",
        ),
        (["--interventions", "all", "--config", "no.yaml"], "no config at no.yaml"),
    ],
)
def test_mistakes(more: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(run, tmp_path / "out", *more)) == 2
    _, error, said = capsys.readouterr().err.rpartition("error: ")
    assert error and message in said


def test_checkpoint_without_a_config_beside_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    zoo.save(zoo.load(run / "checkpoint"), tmp_path / "checkpoint")
    assert main(arguments(tmp_path, tmp_path / "out", "--interventions", "all")) == 2
    assert "give a config with --config FILE" in capsys.readouterr().err


def test_without_matplotlib_there_is_no_png(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("zoo.views.curves.find_spec", lambda name: None)
    assert main(arguments(run, tmp_path, "--interventions", "random")) == 0
    assert {p.name for p in tmp_path.iterdir()} == {f"interventions.{end}" for end in ("json", "svg", "html")}
    assert "pip install 'self-interpretable-zoo[plot]'" in capsys.readouterr().err


def test_png_with_matplotlib(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(arguments(run, tmp_path, "--interventions", "random")) == 0
    assert (tmp_path / "interventions.png").read_bytes().startswith(b"\x89PNG")


def test_missing_labels_are_no_obstacle(run: Path) -> None:
    model = zoo.load(run / "checkpoint")
    batch = next(iter(ConceptToy("trig", count=300).test_dataloader()))
    batch["concepts"][::2] = torch.nan
    cached = cache_evidence(model, [batch])
    curves = sweep(model, cached, make_policies(["lcp", "greedy"], model, cached))
    assert all(bool(curve.mean.isfinite().all()) for curve in curves)


def test_the_config_of_a_shipped_checkpoint_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_of(find("cbm-cub50")).name == "cbm_sequential_cub50.yaml"
    installed = Path(shutil.copytree(find("cbm-cub50"), tmp_path / "checkpoints" / "cbm-cub50"))
    monkeypatch.setattr("zoo.cli.checkpoint_data.ROOTS", (installed.parent,))
    with pytest.raises(FileNotFoundError, match=r"cbm-cub50 was trained with configs/.*cub50.yaml.* --config FILE"):
        config_of(installed)
