"""Options that end, shorten or check a training, and what is refused before the first epoch."""

from pathlib import Path

import pytest
import yaml

from tests.cli.pictures_run import write_config, write_pictures
from zoo.cli.main import main


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "pictures")


def fit(tmp_path: Path, pictures: Path, *options: str, **trainer: object) -> int:
    config = write_config(tmp_path / "tiny.yaml", pictures, **trainer)
    return main(["fit", "--config", str(config), "--output", str(tmp_path / "run"), *options])


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "run").iterdir()} if (tmp_path / "run").exists() else set()


def test_without_validation_all_epochs_are_trained(tmp_path: Path, pictures: Path, capsys) -> None:
    assert fit(tmp_path, pictures, "--trainer.limit_val_batches", "0") == 0
    assert "no validation: all epochs are trained" in capsys.readouterr().out
    assert {"last.ckpt", "checkpoint", "metrics.json"} <= left(tmp_path) and "best.ckpt" not in left(tmp_path)


def test_a_checkpoint_callback_of_the_user(tmp_path: Path, pictures: Path, capsys) -> None:
    init = {"filename": "own", "dirpath": str(tmp_path / "own")}
    own = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": init}
    assert fit(tmp_path, pictures, "--trainer.enable_checkpointing", "false", callbacks=[own]) == 2
    assert "error: Trainer was configured with `enable_checkpointing=False`" in capsys.readouterr().err
    assert fit(tmp_path, pictures, callbacks=[own]) == 0
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["own.ckpt"]
    assert {"best.ckpt", "last.ckpt", "checkpoint"} <= left(tmp_path)
    assert main(["test", "--checkpoint", str(tmp_path / "run")]) == 0


def test_without_checkpoints_the_last_weights_are_saved(tmp_path: Path, pictures: Path, capsys) -> None:
    assert fit(tmp_path, pictures, "--trainer.enable_checkpointing", "false") == 0
    assert "the run cannot be resumed" in capsys.readouterr().out
    assert "checkpoint" in left(tmp_path) and not {"best.ckpt", "last.ckpt"} & left(tmp_path)


def test_a_try_leaves_nothing(tmp_path: Path, pictures: Path) -> None:
    assert fit(tmp_path, pictures, "--trainer.fast_dev_run", "true") == 0
    assert left(tmp_path) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.prototypes_per_class", "6"], "lower prototypes_per_class to 5, or add images"),
        (["--trainer.precision", "bf16-true"], "use 32-true or bf16-mixed"),
        (["--trainer.precision", "64-true"], "explanations are computed and checkpoints are kept in float32"),
        (["--trainer.limit_train_batches", "0"], "nothing was trained"),
    ],
)
def test_refused_before_the_first_epoch(
    options: list[str], message: str, tmp_path: Path, pictures: Path, capsys
) -> None:
    assert fit(tmp_path, pictures, *options) == 2
    _, error, said = capsys.readouterr().err.rpartition("error: ")
    assert error and message.lower() in said.lower()
    assert not {"last.ckpt", "checkpoint", "metrics.json"} & left(tmp_path)


def test_one_picture_of_each_class_is_enough_with_own_splits(tmp_path: Path) -> None:
    few = write_pictures(tmp_path / "few", 1)
    assert fit(tmp_path, few) == 0
    assert "checkpoint" in left(tmp_path)


def test_a_drawn_seed_is_kept(tmp_path: Path, pictures: Path) -> None:
    assert fit(tmp_path, pictures, "--seed_everything", "true", "--trainer.limit_train_batches", "1") == 0
    seed = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed_everything"]
    assert isinstance(seed, int) and not isinstance(seed, bool)
