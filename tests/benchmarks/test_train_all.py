"""The driver that trains the checkpoints of the package: what it does anew, and what it leaves as it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from benchmarks import certificates, models_page, train_all
from tests.checkpoints.test_pretrained import ABOUT
from tests.small_models import protopnet
from zoo.checkpoints.config_file import CERTIFICATE, CONFIG, STORAGE, read_config
from zoo.checkpoints.verify import verify
from zoo.core.storage import Storage
from zoo.utils import small_tensors

NAME = "concepts/rrl_xor"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have trained, which leave a metrics.json; those whose run is named `killed` do not."""
    commands = []

    def run(command: list[str], **_: Any) -> None:
        commands.append(command)
        folder = Path(command[command.index("--output") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "killed").exists():
            raise subprocess.CalledProcessError(-9, command)
        (folder / "metrics.json").write_text("{}")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_run_of_the_same_recipe_is_left_as_it_is(trainings: list[list[str]], tmp_path: Path) -> None:
    first = train_all.trained(NAME, [], tmp_path)
    assert train_all.trained(NAME, [], tmp_path) == first and len(trainings) == 1
    assert first[1]["config"] == train_all.recipe_hash(NAME, []) and first[0] == tmp_path / "rrl_xor"
    more = ["--model.init_args.rules", "8"]
    train_all.trained(NAME, more, tmp_path)
    assert len(trainings) == 2 and trainings[1][-2:] == more


def test_a_killed_training_is_not_taken_for_the_one_before(trainings: list[list[str]], tmp_path: Path) -> None:
    run, _ = train_all.trained(NAME, [], tmp_path)
    (run / "killed").touch()
    with pytest.raises(subprocess.CalledProcessError):
        train_all.trained(NAME, ["--model.init_args.rules", "8"], tmp_path)
    (run / "killed").unlink()
    train_all.trained(NAME, [], tmp_path)  # the first recipe again, and half of the second is in the folder
    assert len(trainings) == 3


def test_what_was_measured_on_another_model_goes(trainings: list[list[str]], tmp_path: Path) -> None:
    run, _ = train_all.trained(NAME, [], tmp_path)
    (run / "faithfulness").mkdir()
    (run / "faithfulness" / "faithfulness.json").write_text(json.dumps({"metrics": {}}))
    train_all.trained(NAME, [], tmp_path)
    assert (run / "faithfulness").exists()
    train_all.trained(NAME, ["--model.init_args.rules", "8"], tmp_path)
    assert not (run / "faithfulness").exists()


def test_a_checkpoint_is_up_to_date_by_its_recipe(tmp_path: Path) -> None:
    entry, folder = {"config": NAME}, tmp_path / "rrl-xor"
    assert not train_all.up_to_date(folder, entry)
    about = {**ABOUT, "recipe": train_all.recipe_hash(NAME, [])}
    zoo.save(protopnet().model, folder, metrics={"accuracy": 0.5}, about=about)
    assert train_all.up_to_date(folder, entry)
    assert not train_all.up_to_date(folder, {**entry, "with": ["--model.init_args.rules", "8"]})
    assert not train_all.up_to_date(folder, {**entry, "storage": "int8"})
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace("accuracy: 0.5", "accuracy: 0.9"))
    assert not train_all.up_to_date(folder, entry)  # damaged


def test_the_page_of_models_is_of_the_shipped_checkpoints_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    torch.manual_seed(0)
    packaged = []

    def package(name: str, plan: dict, runs: Path, output: Path) -> Path:
        packaged.append(name)
        return zoo.save(protopnet().model, output / name, metrics={"accuracy": 0.5}, about=ABOUT)

    monkeypatch.setattr(models_page, "PAGE", tmp_path / "models.md")
    monkeypatch.setattr(train_all, "package", package)
    arguments = ["train_all", "--only", "rrl-xor", "--output"]
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path / "elsewhere")])
    assert train_all.main() == 0 and packaged == ["rrl-xor"]
    assert not models_page.PAGE.exists()
    monkeypatch.setattr(train_all, "CHECKPOINTS", tmp_path / "here")
    monkeypatch.setattr(models_page, "CHECKPOINTS", tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path / "here")])
    assert train_all.main() == 0
    page = models_page.PAGE.read_text()
    assert "## Prototypes" in page and "## Parts" not in page
    assert "| [`rrl-xor`](../checkpoints/rrl-xor/README.md) | `protopnet` | XOR | 50.0% |" in page
    monkeypatch.setattr(sys, "argv", [*arguments[:2], "rrl-xr"])
    with pytest.raises(SystemExit):
        train_all.main()
    assert "has no rrl-xr; it has" in capsys.readouterr().err


def test_a_plan_that_lacks_something_says_so() -> None:
    """A new family used to end as a KeyError, after the training."""
    plan = yaml.safe_load(train_all.PLAN.read_text())
    assert all(train_all.limits_of(entry["config"], plan) for entry in plan["checkpoints"].values())
    assert train_all.limits_of(NAME, plan) == plan["limits"]["concepts"]
    with pytest.raises(ValueError, match="says nothing of the limits of rrl or of its family"):
        train_all.limits_of(NAME, {"limits": {}})
    with pytest.raises(ValueError, match=r"names the data 'nothing' of rrl-xor, and does not describe it"):
        train_all.facts_of("rrl-xor", {"checkpoints": {"rrl-xor": {"data": "nothing"}}, "data": {}})


@pytest.mark.parametrize("refused", [False, True])
def test_a_checkpoint_is_certified_at_once(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """On validation rows of its data; a model that cannot be certified is written without, and that is told."""
    run = tmp_path / "runs" / "rrl_xor"
    zoo.save(zoo.load("rrl-xor"), run / "checkpoint")
    (run / "metrics.json").write_text(json.dumps({"accuracy": 0.5}))
    mark = {"config": "0" * 64, "seconds": 1, "device": "1 CPU core"}
    monkeypatch.setattr(train_all, "trained", lambda *_, **__: (run, mark))
    monkeypatch.setattr(train_all, "faithfulness", lambda *_: {})
    if refused:
        monkeypatch.setattr(certificates, "certify", lambda *_: (_ for _ in ()).throw(ValueError("no rows")))
    plan = yaml.safe_load(train_all.PLAN.read_text())
    folder = train_all.package("rrl-xor", plan, tmp_path / "runs", tmp_path / "out")
    assert (CERTIFICATE in read_config(folder)) != refused and verify(folder) == 0
    assert ("gets no certificate: ValueError: no rows" in capsys.readouterr().err) == refused
    if not refused:
        found = read_config(folder)[CERTIFICATE]
        assert found["split"] == "val" and 0 < found["rows"] <= train_all.CERTIFIED


def test_a_failure_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def package(name: str, *_: Any) -> Path:
        if name == "rrl-xor":
            raise subprocess.CalledProcessError(2, ["fit"], stderr="error: no data")
        return tmp_path / name

    monkeypatch.setattr(train_all, "package", package)
    monkeypatch.setattr(sys, "argv", ["train_all", "--only", "rrl-xor", "dcr-xor", "--output", str(tmp_path)])
    assert train_all.main() == 1
    told = capsys.readouterr()
    assert "rrl-xor failed" in told.err and "error: no data" in told.err and "dcr-xor" in told.out


def test_a_checkpoint_is_stored_as_the_plan_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is measured on the rounded weights; the card says what rounding changes on the test rows."""
    run, model = tmp_path / "runs" / "rrl_xor", zoo.load("rrl-xor")
    zoo.save(model, run / "checkpoint")
    (run / "metrics.json").write_text(json.dumps({"accuracy": 0.5}))
    mark = {"config": train_all.recipe_hash(NAME, []), "seconds": 1, "device": "1 CPU core"}
    monkeypatch.setattr(train_all, "trained", lambda *_, **__: (run, mark))
    monkeypatch.setattr(train_all, "faithfulness", lambda *_: {})
    monkeypatch.setattr(small_tensors, "SMALLEST", 8)
    certified, certify = [], train_all.certificate_on
    monkeypatch.setattr(train_all, "certificate_on", lambda one, *rest: certified.append(one) or certify(one, *rest))
    plan = yaml.safe_load(train_all.PLAN.read_text())
    entry = plan["checkpoints"]["rrl-xor"]
    entry["storage"] = "int8"
    folder = train_all.package("rrl-xor", plan, tmp_path / "runs", tmp_path / "out")
    storage = Storage.from_dict(read_config(folder)[STORAGE])
    assert storage.form == "int8"
    assert storage.effect is not None and storage.effect.split == "test"
    assert storage.effect.rows == read_config(folder)["about"]["rows"]
    assert "weights stored as int8" in (folder / "README.md").read_text() and CERTIFICATE in read_config(folder)
    assert train_all.up_to_date(folder, entry) and verify(folder) == 0
    stored, given = zoo.load(folder).state_dict(), model.state_dict()
    assert any(not torch.equal(stored[name], given[name]) for name in given)
    assert all(torch.equal(stored[name], value) for name, value in certified[0].state_dict().items())
