"""The command line as a user meets it: what a run leaves behind, and one clear line for every mistake."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.transforms.v2 import functional as F

import zoo
from tests.cli.test_resume import RECIPE
from tests.small_code import code_domain
from tests.subwords import tiny_bert, wordpiece
from zoo.cli.main import main
from zoo.data import ConceptToy, Digits
from zoo.domain import Domain, ImageDomain, SeriesDomain, TextDomain
from zoo.training.callbacks import AtomicCheckpointIO
from zoo.training.stages import check_groups

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


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
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"accuracy", "balanced_accuracy", "auroc", "brier"} <= set(metrics) and 0 <= metrics["accuracy"] <= 1
    assert {"best.ckpt", "last.ckpt", "config.yaml", "checkpoint", "logs"} <= {p.name for p in run.iterdir()}
    assert zoo.checkpoints.config_file.read_config(run / "checkpoint")["metrics"] == metrics
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["init_args"]["dim"] == 4
    assert main(["test", "--config", str(run / "config.yaml")]) == 0


def test_predict_writes_a_table(run: Path) -> None:
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    with (run / "predictions.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    dataset = Digits().test_dataset()
    assert len(rows) == len(dataset)
    model = zoo.load(run / "checkpoint")
    explanation = model.explain(torch.stack([dataset[i]["input"] for i in range(4)]))
    for i, row in enumerate(rows[:4]):
        assert row["item"] == dataset.name(i)
        assert row["prediction"] == explanation.target_names[i]
        assert float(row["probability"]) == pytest.approx(explanation.probability[i].item(), abs=1e-4)
        assert row["top_unit"] in {u.name for u in explanation.units}


def test_explain_writes_pages_whose_evidence_adds_up(run: Path, digits: Path, capsys) -> None:
    out = digits.parent / "out"
    arguments = ["explain", "--checkpoint", str(run / "checkpoint"), "--input", str(digits), "--output", str(out)]
    assert main(arguments) == 1  # done in part: one file is no image
    said = capsys.readouterr()
    assert "junk.png cannot be read as an image" in said.err and "1 of 4 inputs could not be read" in said.err
    assert {p.name for p in out.glob("*.html")} == {"a.html", "a-2.html", "b.html", "index.html"}
    for file in out.glob("*.json"):
        record = json.loads(file.read_text())
        assert len(record["evidence"]) == 10
        total = record["bias"] + sum(term["contribution"] for term in record["evidence"])
        assert total == pytest.approx(record["score"], abs=1e-4)


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
        (["fit", "--config", "TINY", "--output", "RUN"], "holds a run already; continue it with --ckpt_path last"),
        (["fit", "--config", "TINY", "--output", "NEW", "--ckpt_path", "last"], "There is no run to continue"),
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
    assert "is no valid YAML" in said and "line 3" in said


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


@pytest.mark.filterwarnings("ignore:the groups hold less")  # before the recipe has sharpened them
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_right(path: Path, tmp_path: Path) -> None:
    from zoo.cli.config import check_config, models, read_config

    assert len(path.read_text().splitlines()) < 40 and path.read_text().startswith("# ")
    config = read_config(path)
    check_config(config, str(path))
    arguments = config["model"]["init_args"]
    domain = small_domain(arguments, config["data"])
    if wanted := (config["data"].get("init_args") or {}).get("tokenizer"):  # of the hub: a small one in its place
        assert arguments["backbone"]["model"] == wanted
        arguments["backbone"]["model"] = str(tiny_bert(tmp_path))
        domain = replace(domain, vocabulary=(), tokenizer=wordpiece())
    cls = models()[config["model"]["class_path"]]
    model = cls(domain=domain, **(arguments if wanted else cls.offline_arguments(arguments)))
    check_groups(model.stages, model.groups(), path.stem)
    concepts = torch.eye(len(domain.concepts))[[0, 0]] if domain.concepts else torch.zeros(2, 0)
    inputs = domain.example(2, torch.Generator().manual_seed(0))
    batch = {"input": inputs, "target": torch.tensor([0, 1]), "concepts": concepts}
    if (config["data"].get("init_args") or {}).get("views") == 2:
        batch["view"] = domain.example(2, torch.Generator().manual_seed(1))
    terms = model.losses(*model.step(batch["input"]), batch)
    assert all(bool(term.isfinite()) for term in terms.values())


def small_domain(arguments: dict, data: dict) -> Domain:
    """A domain of the modality and kind of concepts that a config's data has, without the data."""
    if data["class_path"] == "ConceptToy":
        return Domain.from_dict(ConceptToy(**data["init_args"]).domain)
    known: dict = {"classes": ("a", "b"), "concepts": ("c", "d", "e"), "concept_groups": {"g": ("c", "d", "e")}}
    if data["class_path"] == "SeriesArchive":
        return SeriesDomain(classes=("a", "b"), variables=tuple("uvwxyz"), length=100)
    if data["class_path"] == "CodeData":
        return code_domain(length=9)
    if data["class_path"] in ("CEBaB", "SST2", "EraserMovies"):
        return TextDomain(**known, exclusive=("g",), vocabulary=("good", "bad"), length=9)
    if data["class_path"] == "MNISTAdd":
        return ImageDomain(**known, exclusive=("g",), size=(28, 28), channels=12, mean=(0.5,) * 12, std=(0.5,) * 12)
    fixed = "elements" in arguments or "img_size" in str(arguments.get("backbone"))  # grids that must be real
    side = 96 if "matcher" in arguments else 64  # cells enough for pairs
    side = 224 if data["class_path"] == "CUB" and fixed else side
    return ImageDomain(**known, size=(side, side), channels=3)
