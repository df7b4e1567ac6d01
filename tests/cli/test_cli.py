"""The command line as a user meets it: what a run leaves behind, and one clear line for every mistake."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.transforms.v2 import functional as F

import zoo
from tests.cli.test_resume import RECIPE
from zoo.checkpoints.verify import verify
from zoo.cli.main import main
from zoo.data import Digits
from zoo.training.callbacks import AtomicCheckpointIO

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run."""
    tmp = tmp_path_factory.mktemp("cli")
    (tmp / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(["fit", "--config", str(tmp / "tiny.yaml"), "--output", str(tmp / "run")]) == 0
    return tmp / "run"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with three digits and a file that is no image."""
    folder = tmp_path / "digits"
    (folder / "more").mkdir(parents=True)
    pictures = Digits().test_dataset()
    for i, name in enumerate(("a.png", "b.png", "more/a.png")):
        F.to_pil_image(pictures.picture(i)).save(folder / name)
    (folder / "junk.png").write_bytes(b"no image")
    return folder


def test_fit_leaves_what_it_promises(run: Path) -> None:
    """metrics.json held the accuracy alone."""
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1 and set(metrics) == {
        *("accuracy", "balanced_accuracy", "f1_macro"),
        *("auroc", "average_precision", "brier", "calibration_error"),
    }
    with (run / "confusion.csv").open() as opened:
        header, *rows = csv.reader(opened)
    counts = torch.tensor([[int(cell) for cell in row[1:]] for row in rows])
    assert header[1:] == [row[0] for row in rows] and len(rows) == 10
    assert int(counts.sum()) == len(Digits().test_dataset())
    assert int(counts.diagonal().sum()) / int(counts.sum()) == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert not find_spec("matplotlib") or (run / "confusion.png").stat().st_size > 1000
    card = (run / "checkpoint" / "README.md").read_text()
    assert f"| test f1_macro | {metrics['f1_macro']:.4f} |" in card and "## Most confused classes" in card
    assert verify(run / "checkpoint") < 1e-4
    assert {"best.ckpt", "last.ckpt", "config.yaml", "checkpoint", "logs"} <= {p.name for p in run.iterdir()}
    assert zoo.checkpoints.config_file.read_config(run / "checkpoint")["metrics"] == metrics
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["init_args"]["dim"] == 4
    (run / "metrics.json").rename(run / "before.json")
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    again = json.loads((run / "metrics.json").read_text())
    assert again == pytest.approx(json.loads((run / "before.json").read_text()), abs=1e-4)


def test_validate_leaves_its_own_files(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["validate", "--config", str(run / "config.yaml")]) == 0
    found = json.loads((run / "validation_metrics.json").read_text())
    assert set(found) == set(json.loads((run / "metrics.json").read_text()))
    assert (run / "validation_confusion.csv").is_file() and "validation accuracy 0." in capsys.readouterr().out


def test_predict_writes_a_table(run: Path) -> None:
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    with (run / "predictions.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    dataset = Digits().test_dataset()
    assert len(rows) == len(dataset)
    model = zoo.load(run / "checkpoint")
    explanation = model.explain(torch.stack([dataset[i]["input"] for i in range(4)]))
    for i, row in enumerate(rows[:4]):
        assert row["item"] == dataset.name(i) and row["label"] == model.domain.classes[dataset.targets[i]]
        assert row["prediction"] == explanation.target_names[i] and "unit 1" not in row
        assert float(row["score"]) == pytest.approx(explanation.score[i].item(), abs=1e-4)
        told = [float(row[f"p({name})"]) for name in model.domain.classes]
        assert told == pytest.approx(explanation.scores[i].softmax(0).tolist(), abs=1e-4)
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_explain_writes_pages_whose_evidence_adds_up(run: Path, digits: Path, capsys) -> None:
    out = digits.parent / "out"
    arguments = ["explain", "--checkpoint", str(run / "checkpoint"), "--input", str(digits), "--output", str(out)]
    assert main(arguments) == 1  # done in part: one file is no image
    said = capsys.readouterr()
    assert "junk.png cannot be read as an image" in said.err and "1 of 4 inputs could not be explained" in said.err
    assert {p.name for p in out.glob("*.html")} == {"a.html", "a-2.html", "b.html", "index.html"}
    for file in out.glob("*.json"):
        record = json.loads(file.read_text())
        assert len(record["evidence"]) == 10
        total = record["bias"] + sum(term["contribution"] for term in record["evidence"])
        assert total == pytest.approx(record["explained_score"], abs=1e-4)


def test_explain_another_class(run: Path, digits: Path) -> None:
    out = digits.parent / "out"
    base = ["explain", "--checkpoint", str(run / "checkpoint"), "--input", str(digits / "a.png"), "--output", str(out)]
    assert main([*base, "--target", "eight"]) == 0
    assert json.loads((out / "a.json").read_text())["target"] == "eight"


def test_list(capsys, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    for what, expected in {"models": "protopnet", "data": "Digits", "configs": "protopnet_digits.yaml"}.items():
        assert main(["list", what]) == 0
        assert expected in capsys.readouterr().out


def changed(tmp: Path, path: str, value: object) -> Path:
    """The tiny config with one value changed, as a file."""
    config = yaml.safe_load(yaml.safe_dump(RECIPE))
    *above, last = path.split(".")
    part = config
    for key in above:
        part = part[int(key) if key.isdigit() else key]
    part[last] = value
    (tmp / "bad.yaml").write_text(yaml.safe_dump(config))
    return tmp / "bad.yaml"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("trainr", {}, "the config has no key 'trainr'; did you mean 'trainer'?"),
        ("trainer.max_epoch", 3, "trainer has no key 'max_epoch'; did you mean 'max_epochs'?"),
        ("model.init_args.prototypes_per_clas", 3, "ProtoPNet has no key 'prototypes_per_clas'; did you mean"),
        ("data.init_args.batchsize", 3, "data.init_args of Digits has no key 'batchsize'; did you mean 'batch_size'?"),
        ("model.class_path", "ProtopNet", "class 'ProtopNet', which does not exist; did you mean 'ProtoPNet'?"),
        ("data.class_path", "Digit", "class 'Digit', which does not exist; did you mean 'Digits'?"),
        ("model.init_args.prototypes_per_class", -3, "prototypes_per_class must be at least 1; got -3"),
        ("model.init_args.prototypes_per_class", 2.5, "model.init_args.prototypes_per_class must be int; got 2.5"),
        ("data.init_args.batch_size", "many", "data.init_args.batch_size must be int; got 'many'"),
        ("trainer.max_epochs", "long", "trainer.max_epochs must be int or null; got 'long'"),
        ("patience", "long", "patience must be int; got 'long'"),
        ("model.init_args.recipe.lr", "fast", "recipe.lr must be float or dict[str, float] or null; got 'fast'"),
        ("model.init_args.recipe.optimizer", "adm", "recipe.optimizer must be 'adam' or 'adamw' or 'sgd' or null; got"),
        ("model.init_args.recipe.learning", 1, "model.init_args.recipe has no key 'learning'"),
        ("model.init_args.recipe.stages.0.epoch", 1, "recipe.stages[0] has no key 'epoch'; did you mean 'epochs'?"),
        ("model.init_args.recipe.stages.0.epochs", 1.5, "recipe.stages[0].epochs must be int; got 1.5"),
        ("model.init_args.lr", 0.1, "has no key 'lr', which is now a field of the recipe: write recipe: {lr: ...}"),
        ("model.class_path", "protopnett", "class 'protopnett', which does not exist; did you mean 'ProtoPNet'?"),
        ("data.class_path", "my.Own", "class 'my.Own', which cannot be imported"),
        ("data", ["Digits"], "data must have a class_path, such as CodeData; got ['Digits']"),
        ("model.init_args.backbone", "resnet43", "no backbone named 'resnet43'"),
        ("model.init_args.recipe.coefficients", {"clusters": 1.0}, "no loss term 'clusters'; did you mean 'cluster'?"),
        (
            "model.init_args.recipe.stages",
            [{"name": "joint", "epochs": 1, "train": ["prototype"]}],
            "stage 'joint' trains 'prototype', which is not a parameter group of ProtoPNet; groups: backbone",
        ),
        (
            "model.init_args.recipe.stages",
            [{"name": "warm", "epochs": 1, "train": ["head"]}, {"name": "push"}],
            "the recipe ends in the action 'push', which would never run",
        ),
        (
            "model.init_args.recipe.stages",
            [
                {"name": "w", "epochs": 1, "train": ["head"]},
                {"name": "pusch"},
                {"name": "l", "epochs": 1, "train": ["head"]},
            ],
            "ProtoPNet has no such action",
        ),
        ("data.init_args.augment", "shiftt", "no augmentation named 'shiftt'; did you mean 'shift'?"),
    ],
)
def test_mistakes_in_a_config(path: str, value: object, message: str, tmp_path: Path, capsys) -> None:
    config = changed(tmp_path, path, value)
    assert main(["fit", "--config", str(config), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fitt"], "no command named 'fitt'; did you mean 'fit'?"),
        (
            ["fit", "--config", "configs/prototypes/protopnet_digit.yaml"],
            "no config at configs/prototypes/protopnet_digit",
        ),
        (["fit", "--config", "TINY", "--model.init_args.dimm=4"], "ProtoPNet has no key 'dimm'; did you mean 'dim'?"),
        (["fit", "--config", "TINY", "--model.dimm", "4"], "ProtoPNet has no key 'dimm'; did you mean 'dim'?"),
        (["fit", "--config", "TINY", "--model.dim", "4.5"], "command line: model.init_args.dim must be int; got"),
        (["fit", "--config", "TINY", "--model.init_args.lr", "1"], "did you mean --model.init_args.recipe.lr?"),
        (["fit", "--config", "TINY", "--model.init_args.recipe.lrr=1"], "recipe has no key 'lrr'; did you mean 'lr'?"),
        (["fit", "--config", "TINY", "--trainer.devics", "2"], "trainer has no key 'devics'; did you mean 'devices'?"),
        (["fit", "--config", "TINY", "--ouput", "x"], "the config has no key 'ouput'; did you mean 'output'?"),
        (["fit", "--config", "TINY", "--overwrite"], "--overwrite needs a value"),
        (["fit", "--config", "TINY", "RUN"], "options have the form --NAME VALUE"),
        (
            ["fit", "--config", "TINY", "--data.batch_size.x", "1"],
            "needs a mapping at data.init_args.batch_size; ",
        ),
        (["fit", "--config", "TINY", "--data.init_args", "[1]"], "--data.init_args must be a mapping"),
        (["fit", "--config", "TINY", "--model", "CBMM"], "class 'CBMM', which does not exist; did you mean 'CBM'?"),
        (["test"], "has no model; give a config that has, with --config FILE"),
        (["fit", "--config", "TINY", "--output", "RUN"], "holds a run already; resume it with --ckpt_path last"),
        (["fit", "--config", "TINY", "--output", "NEW", "--ckpt_path", "last"], "There is no run to resume"),
        (["test", "--config", "TINY", "--output", "NEW"], "Train first"),
        (["explain", "--checkpoint", "NEW", "--input", "x.png"], "has no config.yaml"),
        (["explain", "--checkpoint", "RUN/checkpoint", "--input", "x.png", "--output", "NEW"], "none of the inputs"),
        (
            ["explain", "--checkpoint", "RUN/checkpoint", "--input", "x.png", "--target", "eigth"],
            "did you mean 'eight'?",
        ),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], message: str, run: Path, tmp_path: Path, capsys) -> None:
    places = {"TINY": str(run.parent / "tiny.yaml"), "RUN": str(run), "NEW": str(tmp_path / "new")}
    for name, place in places.items():
        arguments = [a.replace(name, place) if a.startswith(name) else a for a in arguments]
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: ") and message in error


def test_broken_yaml_names_the_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "bad.yaml").write_text("model:\n  class_path: [ProtoPNet\ndata: {}\n")
    assert main(["fit", "--config", str(tmp_path / "bad.yaml")]) == 2
    said = capsys.readouterr().err
    assert "is not valid YAML" in said and "line 3" in said


def test_nan_loss_stops_and_names_batch_and_term(tmp_path: Path, capsys, monkeypatch) -> None:
    losses = zoo.prototypes.ProtoPNet.losses

    def poisoned(self, scores, evidence, batch):
        return {**losses(self, scores, evidence, batch), "cluster": scores.sum() * torch.nan}

    monkeypatch.setattr(zoo.prototypes.ProtoPNet, "losses", poisoned)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(["fit", "--config", str(tmp_path / "tiny.yaml"), "--output", str(tmp_path / "run")]) == 2
    assert "loss term 'cluster' is not finite in epoch 0, batch 0" in capsys.readouterr().err


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch) -> None:
    writer, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    writer.save_checkpoint({"epoch": 1}, path)

    def full(content: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left.*the previous checkpoint is unchanged.*--ckpt_path last"):
        writer.save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
