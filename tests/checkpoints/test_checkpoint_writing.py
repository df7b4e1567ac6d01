"""Checkpoints as they are written: whatever happens meanwhile, none is lost."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import zoo
from tests.small_models import IMAGES, RandomImages, Small, protopnet
from zoo.checkpoints import pretrained, save, shipped
from zoo.checkpoints.config_file import CONFIG, GOLDEN, WEIGHTS, read_config
from zoo.checkpoints.verify import verify
from zoo.core.module import SelfInterpretable

INPUTS = RandomImages(5, seed=1).inputs


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(0)
    return protopnet()


@pytest.fixture(scope="module")
def saved(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.save(small.model, tmp_path_factory.mktemp("saved") / "checkpoint")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def scores(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return zoo.load(folder)(INPUTS)


def test_saving_changes_nothing(small: Small, tmp_path: Path) -> None:
    rng, modes = torch.get_rng_state(), [m.training for m in small.model.modules()]
    zoo.save(small.model, tmp_path / "a" / "b" / "checkpoint")
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in small.model.modules()] == modes
    assert verify(tmp_path / "a" / "b" / "checkpoint") == 0


@pytest.mark.parametrize("run", ["/home/anna/runs/box", "../../box/", "box", "C:\\runs\\box"])
def test_a_teacher_is_named_without_the_folder_of_this_machine(tmp_path: Path, run: str) -> None:
    teacher = {"run": run, "temperature": 4.0}
    model = protopnet(recipe={"teacher": teacher}).model
    assert model.arguments["recipe"]["teacher"]["run"] == run
    stored = read_config(zoo.save(model, tmp_path / "checkpoint"))["arguments"]["recipe"]["teacher"]
    assert stored == {**teacher, "run": "box", "weight": 1.0, "start": False}
    assert zoo.load(tmp_path / "checkpoint").arguments["recipe"]["teacher"]["run"] == "box"


def test_golden_inputs_may_be_given(small: Small, tmp_path: Path) -> None:
    folder = zoo.save(small.model, tmp_path / "checkpoint", golden=small.inputs)
    assert torch.equal(load_file(folder / GOLDEN)["inputs"], small.inputs)
    assert verify(folder) == 0


@pytest.fixture(scope="module")
def other() -> SelfInterpretable:
    """A model whose scores are not those of `small`."""
    model = protopnet().model
    with torch.no_grad():
        model.head.weight.add_(1)
    return model


def test_saving_again_replaces(folder: Path, other: SelfInterpretable) -> None:
    zoo.save(other, folder)
    with torch.no_grad():
        assert torch.equal(scores(folder), other(INPUTS))
    assert [p.name for p in folder.parent.iterdir()] == ["checkpoint"]


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def full_disk_in_rust(*_: Any, **__: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def failing_at(call: int, error: Callable[..., None] = full_disk) -> Callable[..., None]:
    """os.rename that fails in its n-th call."""
    rename, calls = os.rename, []

    def replacement(source: Any, target: Any) -> None:
        calls.append(source)
        if len(calls) == call:
            error()
        rename(source, target)

    return replacement


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [
        (save, "save_file", lambda: full_disk),
        (save, "save_file", lambda: full_disk_in_rust),
        (os, "fsync", lambda: full_disk),
        (os, "rename", lambda: failing_at(1)),
        (os, "rename", lambda: failing_at(2)),
    ],
    ids=["weights", "weights in rust", "fsync", "first rename", "second rename"],
)
def test_full_disk_leaves_the_old_checkpoint_and_no_litter(
    folder: Path,
    other: SelfInterpretable,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    replacement: Callable,
) -> None:
    before = scores(folder)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, replacement())
        message = "could not write the checkpoint .*No space left.*; the previous checkpoint is unchanged. Free some"
        with pytest.raises(OSError, match=message):
            zoo.save(other, folder)
    assert [p.name for p in folder.parent.iterdir()] == ["checkpoint"]
    assert torch.equal(scores(folder), before)
    zoo.save(other, folder)
    assert not torch.equal(scores(folder), before)


def test_full_disk_at_the_first_checkpoint(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save, "save_file", full_disk)
    with pytest.raises(OSError, match=r"\(\[Errno 28\] No space left on device\)\. Free some disk space or cho"):
        zoo.save(small.model, tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


class Killed(BaseException):
    """What kill -9 is to the code below it: nothing there may run after it."""


def kill(*_: Any) -> None:
    raise Killed


@pytest.mark.parametrize(("call", "survivor"), [(1, "old"), (2, "old"), (3, "new")])
def test_a_kill_at_any_point_of_the_replacement_loses_nothing(
    folder: Path, other: SelfInterpretable, monkeypatch: pytest.MonkeyPatch, call: int, survivor: str
) -> None:
    """Killed before the first rename, between the two, and after the second, before the old one is removed."""
    before = scores(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: kill() if call == 3 and _renamed(folder) else None)
        patch.setattr(os, "rename", failing_at(call, kill))
        with pytest.raises(Killed):
            zoo.save(other, folder)
    assert folder.exists() == (call != 2)
    assert torch.equal(scores(folder), before) == (survivor == "old")
    assert folder.is_dir()
    zoo.save(other, folder)
    assert not torch.equal(scores(folder), before)
    assert not (folder.parent / ".checkpoint.old").exists()


def _renamed(folder: Path) -> bool:
    return folder.exists() and (folder.parent / ".checkpoint.old").exists()


def killed_before(step: int, model: SelfInterpretable, folder: Path) -> bool:
    """Saves in another process, which is sent SIGKILL before the step-th thing that it does to the disk there."""
    if (process := os.fork()) == 0:
        try:
            torch.set_num_threads(1)  # the threads of the parent are not there
            signal.alarm(60)
            steps = itertools.count(1)

            def hook(event: str, arguments: tuple) -> None:
                if event in CHANGES and str(folder.parent) in str(arguments) and next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            zoo.save(model, folder)
            os._exit(0)
        finally:  # never back into the tests
            os._exit(1)
    status = os.waitpid(process, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    return status != 0


CHANGES = ("open", "os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
def test_sigkill_at_every_step_leaves_a_whole_checkpoint(
    saved: Path, other: SelfInterpretable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scores(saved)
    with torch.no_grad():
        after = other(INPUTS)
    survivors, step = [], 0
    for step in itertools.count(1):
        folder = Path(shutil.copytree(saved, tmp_path / str(step) / "checkpoint"))
        if not killed_before(step, other, folder):
            break
        monkeypatch.setattr(shipped, "ROOTS", (folder.parent,))
        assert verify(pretrained.find("checkpoint")) == 0
        assert zoo.list_checkpoints() == ["checkpoint"]  # whatever else is left behind
        survivors.append("old" if torch.equal(scores(folder), before) else "new")
        assert survivors[-1] == "old" or torch.equal(scores(folder), after)
        zoo.save(other, folder)
        assert torch.equal(scores(folder), after)
    assert step > 10 and {"old", "new"} == set(survivors) and survivors == sorted(survivors, reverse=True)


def test_saving_recovers_too(folder: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement killed between its renames must not cost the old checkpoint when the next one fails."""
    before = scores(folder)
    folder.rename(folder.parent / ".checkpoint.old")
    with monkeypatch.context() as patch:
        patch.setattr(save, "save_file", full_disk)
        with pytest.raises(OSError, match="the previous checkpoint is unchanged"):
            zoo.save(small.model, folder)
    assert torch.equal(scores(folder), before)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"beach.jpg"}, "it holds \\['beach.jpg'\\]"),
        ({CONFIG, "last.ckpt"}, f"it holds \\['{CONFIG}', 'last.ckpt'\\]"),  # a run's folder has a config.yaml as well
        ({CONFIG, WEIGHTS, GOLDEN, "notes.txt"}, "it holds \\[.*'notes.txt'\\]"),
        (set(), "it is a file"),
    ],
)
def test_what_is_no_checkpoint_is_not_replaced(small: Small, tmp_path: Path, files: set[str], found: str) -> None:
    holiday = tmp_path / "holiday"
    if files:
        holiday.mkdir()
    paths = [holiday / name for name in files] or [holiday]
    for path in paths:
        path.write_text("precious")
    with pytest.raises(FileExistsError, match=rf"holiday is not a checkpoint \({found}\), so it is not replaced; cho"):
        zoo.save(small.model, holiday)
    assert all(path.read_text() == "precious" for path in paths)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday"]


def test_circuits_in_a_checkpoint_are_not_lost(small: Small, tmp_path: Path) -> None:
    folder = zoo.save(small.model, tmp_path / "kept")
    (folder / "circuits").mkdir()
    with pytest.raises(FileExistsError, match=r"kept holds circuits of the model in it, .* move .*kept/circuits away"):
        zoo.save(small.model, folder)
    assert (folder / "circuits").is_dir() and verify(folder) == 0


def test_a_device_is_not_replaced(small: Small, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # stands for /dev/null, which root could replace
    with pytest.raises(FileExistsError, match="pipe is not a checkpoint"):
        zoo.save(small.model, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_an_empty_folder_is_filled(small: Small, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert verify(zoo.save(small.model, tmp_path / "checkpoint")) == 0


def test_model_that_is_not_ready_is_not_saved(tmp_path: Path) -> None:
    backbone = {"name": "convnet", "widths": [4], "pool": [0]}
    model = zoo.create_model("protopnet", domain=IMAGES, backbone=backbone, prototypes_per_class=1, dim=4)
    with pytest.raises(RuntimeError, match="push"):
        zoo.save(model, tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_failed_explanation_leaves_no_litter(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expects images"):
        zoo.save(small.model, tmp_path / "checkpoint", golden=torch.ones(2, 1))
    assert list(tmp_path.iterdir()) == []


def test_class_without_a_name_cannot_be_saved(tmp_path: Path) -> None:
    made = protopnet()
    made.model.__class__ = type("Nameless", (type(made.model),), {})
    with pytest.raises(ValueError, match="Nameless is not a registered model; decorate it"):
        zoo.save(made.model, tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_names_the_same_sources(tmp_path: Path) -> None:
    """Loading reads no weights file, but the copy still says where the weights came from."""
    model = protopnet().model
    model.hparams["backbone"] = {**model.hparams["backbone"], "pretrained": True, "weights": "/nowhere.safetensors"}
    first = zoo.save(model, tmp_path / "first")
    again = zoo.save(zoo.load(first), tmp_path / "again")
    arguments = [read_config(folder)["arguments"] for folder in (first, again)]
    assert arguments[0] == arguments[1] and arguments[0]["backbone"]["weights"] == "/nowhere.safetensors"
