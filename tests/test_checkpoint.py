"""Checkpoints: what is refused, and that none is lost whatever happens while one is written."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import zoo
from tests.small_models import IMAGES, RandomImages, Small, protopnet
from zoo import checkpoint
from zoo.checkpoint import CONFIG, GOLDEN, WEIGHTS
from zoo.module import SelfInterpretable

INPUTS = RandomImages(5, seed=1).inputs


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(0)
    return protopnet()


@pytest.fixture(scope="module")
def saved(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.save(small.model, tmp_path_factory.mktemp("saved") / "checkpoint", metrics={"accuracy": 0.5})


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def configure(folder: Path, **changes: Any) -> None:
    """Changes the config, and makes its hashes right again, so that what comes after them is tested."""
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["sha256"] = {name: checkpoint._hash(folder / name) for name in (WEIGHTS, GOLDEN)}
    (folder / CONFIG).write_text(yaml.safe_dump({**config, **changes}))


def scores(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return zoo.load(folder)(INPUTS)


def test_a_checkpoint_is_three_files_of_plain_data(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == sorted((CONFIG, WEIGHTS, GOLDEN))
    assert [p.name for p in saved.parent.iterdir()] == ["checkpoint"]
    config = checkpoint.read_config(saved)
    assert config["model"] == "protopnet" and config["metrics"] == {"accuracy": 0.5}
    assert config["arguments"]["domain"] == IMAGES.to_dict()
    assert set(load_file(saved / GOLDEN)) == {"inputs", "scores", "contributions", "bias", "activation"}


def test_loaded_model_is_the_saved_one(small: Small, saved: Path) -> None:
    loaded = zoo.load(str(saved))
    assert not any(module.training for module in loaded.modules())
    for name, tensor in small.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.hparams == small.model.hparams
    assert checkpoint.verify(saved) == 0


def test_saving_changes_nothing(small: Small, tmp_path: Path) -> None:
    rng, modes = torch.get_rng_state(), [m.training for m in small.model.modules()]
    zoo.save(small.model, tmp_path / "a" / "b" / "checkpoint")
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in small.model.modules()] == modes
    assert checkpoint.verify(tmp_path / "a" / "b" / "checkpoint") == 0


def test_golden_inputs_may_be_given(small: Small, tmp_path: Path) -> None:
    folder = zoo.save(small.model, tmp_path / "checkpoint", golden=small.inputs)
    assert torch.equal(load_file(folder / GOLDEN)["inputs"], small.inputs)
    assert checkpoint.verify(folder) == 0


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN])
@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"x": torch.ones(1)}, path),
    ],
    ids=["bit flipped", "truncated", "empty", "another file"],
)
def test_changed_file_is_refused(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    with pytest.raises(
        ValueError, match=rf"{name} is damaged or was changed: its SHA-256 is .* Get the checkpoint aga"
    ):
        zoo.load(folder)


def test_wrong_hash_is_refused(folder: Path) -> None:
    found = checkpoint._hash(folder / WEIGHTS)
    configure(folder, sha256={WEIGHTS: "0" * 64, GOLDEN: checkpoint._hash(folder / GOLDEN)})
    with pytest.raises(ValueError, match=rf"SHA-256 is {found[:12]}..., the config says {'0' * 12}\.\.\."):
        zoo.load(folder)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ([GOLDEN], "has no golden.safetensors \\(found: config.yaml, model.safetensors\\)"),
        ([WEIGHTS], "has no model.safetensors \\(found: config.yaml, golden.safetensors\\)"),
        ([CONFIG], "has no config.yaml \\(found: golden.safetensors, model.safetensors\\)"),
        ([CONFIG, WEIGHTS, GOLDEN], "has no config.yaml, model.safetensors, golden.safetensors \\(found: nothing\\)"),
    ],
)
def test_missing_file_is_named_beside_what_is_there(folder: Path, lost: list[str], message: str) -> None:
    for name in lost:
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{message}. Give a folder written by `train.py fit` or zoo.save"):
        zoo.load(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing has no config.yaml, .* \(found: no such folder\)"):
        zoo.load(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"file has no config.yaml, .* \(found: no such folder\)"):
        zoo.load(tmp_path / "file")


# Weights that do not fit


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    configure(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.weight"), "missing \\['head.weight'\\], unknown nothing"),
        (lambda t: t.update(extra=torch.ones(1)), "missing nothing, unknown \\['extra'\\]"),
        (lambda t: t.update(haed=t.pop("head.weight")), "missing \\['head.weight'\\], unknown \\['haed'\\]"),
        (
            lambda t: t.update({"head.weight": t["head.weight"].half()}),
            "'head.weight' is torch.float16 \\(3, 6\\); the model of the config needs torch.float32 \\(3, 6\\)",
        ),
        (
            lambda t: t.update({"head.weight": t["head.weight"][:2].clone()}),
            "'head.weight' is torch.float32 \\(2, 6\\); the model of the config needs torch.float32 \\(3, 6\\)",
        ),
    ],
    ids=["missing", "extra", "renamed", "dtype", "shape"],
)
def test_weights_that_do_not_fit_the_config(folder: Path, change: Callable, message: str) -> None:
    rewrite(folder, change)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}.*{message}"):
        zoo.load(folder)


def test_right_hash_of_a_truncated_file_does_not_help(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    configure(folder)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is no intact safetensors file"):
        zoo.load(folder)


@pytest.mark.parametrize("name", ["scores", "contributions", "activation"])
def test_another_explanation_than_at_saving_is_noticed(folder: Path, name: str) -> None:
    golden = load_file(folder / GOLDEN)
    golden[name][0, 0] += 0.5
    save_file(golden, folder / GOLDEN)
    configure(folder)
    with pytest.raises(ValueError, match=rf"golden inputs differently than when it was saved: '{name}' is off by 0.5"):
        checkpoint.verify(folder)
    del golden[name]
    save_file(golden, folder / GOLDEN)
    configure(folder)
    with pytest.raises(ValueError, match=rf"has no '{name}' of shape \(2, .*save the checkpoint again"):
        checkpoint.verify(folder)


# Hostile or mistaken configs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "zoo.prototypes.ProtoPNet"}, "names the model 'zoo.prototypes.ProtoPNet'; expected a registry key"),
        ({"model": "os.system"}, "Class paths are never imported"),
        ({"model": ["protopnet"]}, "names the model \\['protopnet'\\]; expected a registry key"),
        ({"model": "protopnt"}, "no model named 'protopnt'; did you mean 'protopnet'\\?"),
        ({"format": 2}, "is of checkpoint format 2; this version reads format 1. Install a newer version of zoo"),
        ({"arguments": {"colour": 1}}, "has arguments that protopnet does not take .*colour"),
        ({"arguments": {}}, "has arguments that protopnet does not take .*domain"),
        ({"arguments": [1]}, "'arguments' and 'metrics' must be mappings"),
        ({"metrics": 0.5}, "'arguments' and 'metrics' must be mappings"),
        ({"note": "hello"}, "must have the keys arguments, format, metrics, model, sha256; got \\[.*'note'"),
        ({1: "hello"}, "must have the keys arguments, format, metrics, model, sha256; got \\['1', 'arguments'"),
        ({"sha256": {}}, "must give the SHA-256 of model.safetensors and golden.safetensors, and of nothing else"),
        ({"sha256": {WEIGHTS: "0", GOLDEN: "0", "../../etc/passwd": "0"}}, "and of nothing else"),
        ({"sha256": {WEIGHTS: "0", "/etc/passwd": "0"}}, "and of nothing else"),
        ({"sha256": [WEIGHTS, GOLDEN]}, "must give the SHA-256 of"),
    ],
)
def test_config_that_cannot_be_right_is_refused(folder: Path, changes: dict, message: str) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(yaml.safe_dump({**config, **changes}, sort_keys=False))
    with pytest.raises(ValueError, match=message):
        zoo.load(folder)


@pytest.mark.parametrize("key", sorted(checkpoint.KEYS))
def test_config_without_a_key_is_refused(folder: Path, key: str) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    del config[key]
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="must have the keys arguments, format, metrics, model, sha256; got"):
        zoo.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch {witness}']", "is no plain YAML .*python/object/apply:os.system"),
        ("model: !!python/name:os.system ''", "is no plain YAML"),
        ("a: [1", "is no plain YAML"),
        ("- a\n- b", "must have the keys .*; got list"),
        ("", "must have the keys .*; got NoneType"),
    ],
)
def test_config_that_is_no_plain_yaml_runs_nothing(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    witness = tmp_path / "witness"
    (folder / CONFIG).write_text(text.format(witness=witness))
    with pytest.raises(ValueError, match=rf"(?s){CONFIG}.*{message}"):
        zoo.load(folder)
    assert not witness.exists()


def test_config_that_is_no_text(folder: Path) -> None:
    (folder / CONFIG).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="is no plain YAML"):
        zoo.load(folder)


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickle.dump, lambda what, opened: torch.save(what, opened)], ids=["pickle", "torch"])
def test_renamed_pickle_is_not_unpickled(folder: Path, tmp_path: Path, write: Callable) -> None:
    with (folder / WEIGHTS).open("wb") as opened:
        write({"head.weight": Touch(tmp_path / "witness")}, opened)
    configure(folder)
    with pytest.raises(
        ValueError, match=rf"{WEIGHTS} is no intact safetensors file .*Pickled weights are never loaded"
    ):
        zoo.load(folder)
    assert not (tmp_path / "witness").exists()


# Writing


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
        (checkpoint, "save_file", lambda: full_disk),
        (checkpoint, "save_file", lambda: full_disk_in_rust),
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
        message = (
            "could not write the checkpoint .*No space left.*; the checkpoint that was there is untouched. Free some"
        )
        with pytest.raises(OSError, match=message):
            zoo.save(other, folder)
    assert [p.name for p in folder.parent.iterdir()] == ["checkpoint"]
    assert torch.equal(scores(folder), before)
    zoo.save(other, folder)
    assert not torch.equal(scores(folder), before)


def test_full_disk_at_the_first_checkpoint(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match=r"\(\[Errno 28\] No space left on device\)\. Free some space or choose another"):
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


def test_saving_recovers_too(folder: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement killed between its renames must not cost the old checkpoint when the next one fails."""
    before = scores(folder)
    folder.rename(folder.parent / ".checkpoint.old")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_disk)
        with pytest.raises(OSError, match="the checkpoint that was there is untouched"):
            zoo.save(small.model, folder)
    assert torch.equal(scores(folder), before)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"beach.jpg"}, "holds \\['beach.jpg'\\]"),
        ({CONFIG, "last.ckpt"}, f"holds \\['{CONFIG}', 'last.ckpt'\\]"),  # a run's folder has a config.yaml as well
        ({CONFIG, WEIGHTS, GOLDEN, "notes.txt"}, "holds \\[.*'notes.txt'\\]"),
        (set(), "is a file"),
    ],
)
def test_what_is_no_checkpoint_is_not_replaced(small: Small, tmp_path: Path, files: set[str], found: str) -> None:
    holiday = tmp_path / "holiday"
    if files:
        holiday.mkdir()
    paths = [holiday / name for name in files] or [holiday]
    for path in paths:
        path.write_text("precious")
    with pytest.raises(FileExistsError, match=rf"holiday is no checkpoint to replace \(it {found}\); choose another"):
        zoo.save(small.model, holiday)
    assert all(path.read_text() == "precious" for path in paths)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday"]


def test_an_empty_folder_is_filled(small: Small, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert checkpoint.verify(zoo.save(small.model, tmp_path / "checkpoint")) == 0


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
