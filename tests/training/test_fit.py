"""`zoo.fit` does to a model what the command does, and leaves the rest of the program as it was."""

import copy
import json
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

import zoo
from zoo.cli.main import main
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

RECIPE: dict[str, Any] = {
    "stages": [
        {"name": "warm", "epochs": 1, "train": ["backbone", "concepts"]},
        {"name": "joint", "epochs": 3, "train": ["backbone", "concepts", "head"]},
    ],
    "lr": 0.5,  # too high, so that the last epoch is not the best one
}
BACKBONE = {"name": "mlp", "widths": [8]}


def made(seed: int = 0) -> tuple[zoo.SelfInterpretable, zoo.data.DataModule]:
    lightning.seed_everything(seed, verbose=False)
    data = zoo.data.ConceptToy("xor", count=200, batch_size=64)
    return zoo.create_model("cbm", domain=data.domain, backbone=BACKBONE, recipe=RECIPE), data


def test_the_weights_and_metrics_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "model": {"class_path": "CBM", "init_args": {"backbone": BACKBONE, "recipe": RECIPE}},
        "data": {"class_path": "ConceptToy", "init_args": {"name": "xor", "count": 200, "batch_size": 64}},
    }
    Path("toy.yaml").write_text(json.dumps(config))  # which is YAML too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["fit", "--config", "toy.yaml", "--trainer.accelerator", "cpu"]) == 0
    model, data = made()
    metrics = zoo.fit(model, data, test=True, progress=False, accelerator="cpu")
    expected = load_file(tmp_path / "runs" / "toy" / "checkpoint" / "model.safetensors")
    weights = model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())
    told = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    assert told == json.loads((tmp_path / "runs" / "toy" / "metrics.json").read_text())
    assert {"val/accuracy", "test/accuracy"} <= set(metrics)


class Interrupt(Callback):
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt


def test_nothing_else_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    model, data = made()
    os.environ["PL_GLOBAL_SEED"] = "5"
    state = torch.get_rng_state()
    zoo.fit(model, data, seed=3, progress=False, accelerator="cpu")
    assert torch.equal(torch.get_rng_state(), state) and os.environ["PL_GLOBAL_SEED"] == "5"
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")
    assert not model.training and model.stage is None
    copy.deepcopy(model).explain(data.test_dataset()[0]["input"][None]).check()


def test_an_interrupted_fit_can_be_resumed(tmp_path: Path) -> None:
    model, data = made()
    options: dict[str, Any] = {"progress": False, "accelerator": "cpu"}
    straight = zoo.fit(model, data, **options)
    weights = copy.deepcopy(model.state_dict())
    model, data = made()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(model, data, folder=tmp_path, callbacks=[Interrupt()], **options)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(FileExistsError, match="resume=True"):
        zoo.fit(model, data, folder=tmp_path, **options)
    model, data = made(1)
    assert zoo.fit(model, data, folder=tmp_path, resume=True, **options) == straight
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "logs").is_dir()


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    model, data = made()
    with pytest.raises(ValueError, match="give folder"):
        zoo.fit(model, data, resume=True)
    with pytest.raises(FileNotFoundError, match="leave out resume"):
        zoo.fit(model, data, folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="nothing was trained"):
        zoo.fit(model, data, progress=False, accelerator="cpu", limit_train_batches=0)


def test_without_validation_the_last_epoch_is_kept() -> None:
    data = zoo.data.ConceptToy("xor", count=200, batch_size=64)
    recipe = Recipe(stages=(Stage("joint", epochs=1, train=("backbone", "concepts", "head")),))
    model = zoo.concepts.CBM(data.domain, backbone=BACKBONE, recipe=recipe)
    assert zoo.fit(model, data, progress=False, accelerator="cpu", limit_val_batches=0) == {}
