"""A run knows what it was trained on: other data, another config or leftovers are refused by name."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.cli.pictures_run import write_config, write_pictures
from zoo.checkpoints.config_file import read_config
from zoo.cli.main import main
from zoo.cli.run_folder import locked
from zoo.training.staged_module import StagedModule

RENAMED = 'domain.classes: entry 1 was "dog", is "zebra"'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a config and a finished run."""
    tmp = tmp_path_factory.mktemp("runs")
    config = write_config(tmp / "tiny.yaml", write_pictures(tmp / "pictures"))
    assert main(["fit", "--config", str(config), "--output", str(tmp / "run")]) == 0
    return tmp


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    shutil.copytree(trained, tmp_path / "home")
    return tmp_path / "home"


def call(home: Path, command: str, *options: str) -> int:
    """A command on the run, with the config it was trained with."""
    given = ["--config", str(home / "tiny.yaml"), "--output", str(home / "run")]
    return main([command, *given, "--data.root", str(home / "pictures"), *options])


def rename_a_class(home: Path) -> None:
    for split in ("train", "val", "test"):
        (home / "pictures" / split / "dog").rename(home / "pictures" / split / "zebra")


@pytest.mark.parametrize("command", ["test", "validate", "predict", "fit"])
def test_a_renamed_class_is_refused(command: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename_a_class(home)
    options = ["--ckpt_path", "last"] if command == "fit" else []
    assert call(home, command, *options) == 2
    assert RENAMED in capsys.readouterr().err and not (home / "run" / "predictions.csv").exists()
    assert "dog" in json.dumps(json.loads((home / "run" / "run.json").read_text())["domain"])


@pytest.mark.parametrize("command", ["test", "validate", "predict", "evaluate"])
def test_a_renamed_class_is_refused_for_a_checkpoint(command: str, home: Path, capsys) -> None:
    rename_a_class(home)
    given = ["--checkpoint", str(home / "run"), "--data.root", str(home / "pictures"), "--output", str(home / "out")]
    assert main([command, *given, *(["--metrics", "M6"] if command == "evaluate" else [])]) == 2
    assert RENAMED in capsys.readouterr().err


def test_the_user_may_insist(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename_a_class(home)
    assert call(home, "test", "--force", "true") == 0
    assert RENAMED in capsys.readouterr().err
    assert call(home, "fit", "--ckpt_path", "last", "--model.recipe.optimizer", "sgd", "--force", "true") == 2
    assert "state of the optimizer 'adam', from which 'sgd' cannot go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model.recipe.lr", "0.1", "model.init_args.recipe.lr: was 0.01, is 0.1"),
        ("--model.recipe.optimizer", "sgd", 'model.init_args.recipe.optimizer: was missing, is "sgd"'),
        ("--data.batch_size", "3", "data.init_args.batch_size: was 4, is 3"),
        ("--data.mean", "[0, 0, 0]", "domain.mean: entry 0 was"),
        ("--seed_everything", "1", "seed: was 0, is 1"),
        ("--trainer.precision", "bf16-mixed", 'trainer.precision: was missing, is "bf16-mixed"'),
    ],
)
def test_a_run_is_resumed_as_it_was(option: str, value: str, message: str, trained: Path, capsys) -> None:
    before = (trained / "run" / "run.json").read_bytes()
    assert call(trained, "fit", "--ckpt_path", "last", option, value) == 2
    assert message in capsys.readouterr().err and (trained / "run" / "run.json").read_bytes() == before


def test_metrics_are_of_the_items_that_the_run_held_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "pictures" / "train" / "cat" / "0.png").rename(home / "pictures" / "test" / "cat" / "9.png")
    assert call(home, "test") == 2
    assert "split test.items: was 10, is 11" in capsys.readouterr().err
    assert call(home, "validate") == 0 and call(home, "predict") == 0  # other data may be predicted
    given = ["test", "--checkpoint", str(home / "run"), "--data.root", str(home / "pictures")]
    assert main(given) == 0 and "split test.items: was 10, is 11" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:trainer.max_epochs is 1")
def test_nothing_of_an_overwritten_run_is_published(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(home, "predict") == 0
    assert call(home, "fit", "--overwrite", "true", "--trainer.max_epochs", "1") == 2  # ends before the push
    assert "push" in capsys.readouterr().err
    left = {path.name for path in (home / "run").iterdir()}
    assert left == {"last.ckpt", "config.yaml", "run.json", "logs"} and len(list((home / "run/logs").iterdir())) == 1
    assert call(home, "fit", "--ckpt_path", "last") == 0  # and goes on to the end
    assert {"best.ckpt", "checkpoint", "metrics.json"} <= {path.name for path in (home / "run").iterdir()}


def test_a_file_elsewhere_is_resumed_without_touching_another_run(home: Path, tmp_path: Path, capsys) -> None:
    (home / "run").rename(home / "moved")
    assert call(home, "fit", "--ckpt_path", str(home / "moved" / "last.ckpt"), "--output", str(tmp_path / "new")) == 0
    assert call(home, "fit", "--ckpt_path", str(home / "moved" / "last.ckpt"), "--output", str(tmp_path / "new")) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert call(home, "fit", "--ckpt_path", "last", "--output", str(home / "moved"), "--overwrite", "true") == 2
    assert "--overwrite true would remove the run" in capsys.readouterr().err
    assert call(home, "fit", "--ckpt_path", "last", "--output", str(home / "moved")) == 0  # the best epoch is found


def test_config_yaml_holds_the_run_and_not_the_call(trained: Path) -> None:
    text = (trained / "run" / "config.yaml").read_text()
    assert "seed_everything: 0" in text and "overwrite" not in text and "force" not in text


@pytest.mark.parametrize("where", ["run", "run/checkpoint"])
def test_a_run_and_its_checkpoint_name_the_same_model(where: str, home: Path, capsys) -> None:
    for command in ("test", "validate", "predict"):
        assert main([command, "--checkpoint", str(home / where)]) == 0
    assert "explained" not in (home / "run" / "predictions.csv").read_text()
    picture = str(home / "pictures" / "test" / "cat" / "0.png")
    assert main(["explain", "--checkpoint", str(home / where), "--input", picture, "--output", str(home / "out")]) == 0
    accuracy = read_config(home / "run" / "checkpoint")["metrics"]["accuracy"]
    assert str(accuracy)[:8] in capsys.readouterr().out


def test_mistakes_with_checkpoints(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--checkpoint", str(home / "run")]) == 2
    assert "fit has no option '--checkpoint'" in capsys.readouterr().err
    assert main(["test", "--checkpoint", str(home / "run"), "--ckpt_path", "last"]) == 2
    assert "give one of them" in capsys.readouterr().err
    shutil.move(home / "run" / "checkpoint", home / "alone")
    (home / "run" / "config.yaml").unlink()
    assert main(["test", "--checkpoint", str(home / "alone")]) == 2
    assert "give a config with --config FILE" in capsys.readouterr().err
    given = ["--config", str(home / "tiny.yaml"), "--output", str(home / "out")]
    assert main(["predict", "--checkpoint", str(home / "alone"), *given, "--explain", "true", "--top", "2"]) == 0
    with (home / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and {row["label"] for row in rows} == {"cat", "dog"}
    assert rows[0]["item"].endswith("0.png") and rows[0]["unit 1"].startswith(("cat", "dog"))
    assert abs(float(rows[0]["contribution 1"])) >= abs(float(rows[0]["contribution 2"]))


@pytest.mark.parametrize("content", [b"", b"junk", "cut"])
def test_a_damaged_checkpoint_of_lightning(content: bytes | str, home: Path, capsys) -> None:
    path = home / "run" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:2000] if isinstance(content, str) else content)
    for command in ("fit", "test"):
        assert call(home, command, "--ckpt_path", "last") == 2
        said = capsys.readouterr().err
        assert "last.ckpt is damaged" in said and "weights_only" not in said


def test_one_fit_at_a_time(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(home / "run"):
        assert call(home, "fit", "--overwrite", "true") == 2
    assert "another fit is running in" in capsys.readouterr().err and (home / "run" / "best.ckpt").exists()


@pytest.mark.parametrize("epoch", [0, 1])
def test_sigterm(epoch: int, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    step = StagedModule.training_step

    def killed(self: StagedModule, batch: object, batch_idx: int) -> torch.Tensor | None:
        if self.current_epoch == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(StagedModule, "training_step", killed)
        call(home, "fit", "--output", str(home / "other"))
    said = capsys.readouterr().err
    assert caught.value.code == 143 and not (home / "other" / "checkpoint").exists()
    assert ("Resume: the same command with --ckpt_path last" if epoch else "nothing is kept") in said
    assert call(home, "fit", "--output", str(home / "other"), *(["--ckpt_path", "last"] if epoch else [])) == 0
