"""Checkpoints as they are read: what they hold, and what is refused."""

import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import zoo
from tests.hostile import Touch
from tests.small_models import IMAGES, SMALL, Small, of_subwords, protopnet
from zoo.checkpoints import config_file
from zoo.checkpoints.config_file import CONFIG, GOLDEN, WEIGHTS, read_config
from zoo.checkpoints.verify import verify


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


def configure(folder: Path, changes: Mapping[Any, Any] | None = None, **more: Any) -> None:
    """Changes the config, and makes its hashes right again, so that what comes after them is tested."""
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["sha256"] = {name: config_file.file_hash(folder / name) for name in (WEIGHTS, GOLDEN)}
    if isinstance((changed := {**config, **(changes or {}), **more})["sha256"], dict):
        config_file.write_config(folder, changed)
    else:
        (folder / CONFIG).write_text(yaml.safe_dump(changed))


def test_a_checkpoint_is_three_files_of_plain_data(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == sorted((CONFIG, WEIGHTS, GOLDEN))
    assert [p.name for p in saved.parent.iterdir()] == ["checkpoint"]
    config = read_config(saved)
    assert config["model"] == "protopnet" and config["metrics"] == {"accuracy": 0.5}
    assert config["arguments"]["domain"] == IMAGES.to_dict()
    assert set(load_file(saved / GOLDEN)) == {"inputs", "scores", "contributions", "bias", "activation"}


def test_loaded_model_is_the_saved_one(small: Small, saved: Path) -> None:
    loaded = zoo.load(str(saved))
    assert not any(module.training for module in loaded.modules())
    for name, tensor in small.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.hparams == small.model.hparams
    assert verify(saved) == 0


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
    found = config_file.file_hash(folder / WEIGHTS)
    configure(folder, sha256={WEIGHTS: "0" * 64, GOLDEN: config_file.file_hash(folder / GOLDEN)})
    with pytest.raises(ValueError, match=rf"SHA-256 is {found[:12]}..., expected {'0' * 12}\.\.\."):
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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("accuracy: 0.5", "accuracy: 0.9"),
        (f"- {IMAGES.classes[0]}", "- x"),
        ("crop_fraction: 1.0", "crop_fraction: 0.9"),
    ],
)
def test_changed_config_is_refused(folder: Path, old: str, new: str) -> None:
    """Above all a number that nothing else notices: what was measured, or how images are prepared."""
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"config.yaml is damaged or was changed: the SHA-256 of its content is "):
        zoo.load(folder)


def test_config_may_be_formatted_anew(folder: Path) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    (folder / CONFIG).write_text("# by hand\n" + yaml.safe_dump(config, sort_keys=False, width=200, indent=4))
    assert verify(folder) == 0


@pytest.mark.parametrize("version", config_file.UNHASHED)
def test_older_formats_have_no_hash_of_the_config(folder: Path, version: int) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    del config["sha256"][CONFIG]
    (folder / CONFIG).write_text(yaml.safe_dump({**config, "format": version}))
    assert verify(folder) == 0
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"must give the SHA-256 of exactly .*config.yaml"):
        zoo.load(folder)


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
    with pytest.raises(ValueError, match=f"{WEIGHTS} is not an intact safetensors file"):
        zoo.load(folder)


@pytest.mark.parametrize("name", ["scores", "contributions", "activation"])
def test_another_explanation_than_at_saving_is_noticed(folder: Path, name: str) -> None:
    golden = load_file(folder / GOLDEN)
    golden[name][0, 0] += 0.5
    save_file(golden, folder / GOLDEN)
    configure(folder)
    with pytest.raises(ValueError, match=rf"golden inputs differently than when it was saved: '{name}' differs by 0.5"):
        verify(folder)
    del golden[name]
    save_file(golden, folder / GOLDEN)
    configure(folder)
    with pytest.raises(ValueError, match=rf"has no '{name}' of shape \(2, .*save the checkpoint again"):
        verify(folder)


def test_golden_file_with_other_tensors_is_noticed(folder: Path) -> None:
    golden = load_file(folder / GOLDEN)
    for changed, message in (
        ({"x": torch.ones(1), **golden}, r"has \['x'\], which the model does not compute"),
        (
            {name: t for name, t in golden.items() if name != "inputs"},
            r"has no 'inputs' of shape .*; found: \['activation', ",
        ),
    ):
        save_file(changed, folder / GOLDEN)
        configure(folder)
        with pytest.raises(ValueError, match=rf"{GOLDEN} {message}.*he checkpoint again"):
            verify(folder)


# Hostile or mistaken configs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "zoo.prototypes.ProtoPNet"}, "names the model 'zoo.prototypes.ProtoPNet'; expected a registry key"),
        ({"model": "os.system"}, "Class paths are never imported"),
        ({"model": ["protopnet"]}, "names the model \\['protopnet'\\]; expected a registry key"),
        ({"model": "protopnt"}, "no model named 'protopnt'; did you mean 'protopnet'\\?"),
        ({"format": 5}, "is of checkpoint format 5; this version reads format 1 to 4. Install a newer version of zoo"),
        ({"format": "3"}, "is of checkpoint format '3'; this version reads format 1 to 4"),
        (
            {"arguments": {"domain": IMAGES.to_dict(), "colour": 1}},
            "has arguments that protopnet does not accept .*colour",
        ),
        ({"arguments": {}}, r"has a domain that is not valid \(KeyError: 'domain'\)"),
        (
            {"arguments": {"domain": {**IMAGES.to_dict(), "concept_groups": 1}}},
            "has a domain that is not valid .*Attrib",
        ),
        ({"arguments": [1]}, "'arguments' and 'metrics' must be mappings"),
        ({"metrics": 0.5}, "'arguments' and 'metrics' must be mappings"),
        ({"note": "hello"}, "must have the keys arguments, format, metrics, model, sha256; got \\[.*'note'"),
        ({1: "hello"}, "must have the keys arguments, format, metrics, model, sha256; got \\['1', 'arguments'"),
        ({"sha256": {}}, "must give the SHA-256 of exactly model.safetensors, golden.safetensors, config.yaml"),
        ({"sha256": {WEIGHTS: "0", GOLDEN: "0", "../../etc/passwd": "0"}}, "must give the SHA-256 of exactly"),
        ({"sha256": {WEIGHTS: "0", "/etc/passwd": "0"}}, "must give the SHA-256 of exactly"),
        ({"sha256": [WEIGHTS, GOLDEN]}, "must give the SHA-256 of"),
    ],
)
def test_config_that_cannot_be_right_is_refused(folder: Path, changes: dict, message: str) -> None:
    configure(folder, changes)
    with pytest.raises(ValueError, match=message):
        zoo.load(folder)


@pytest.mark.parametrize("key", sorted(config_file.KEYS))
def test_config_without_a_key_is_refused(folder: Path, key: str) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    del config[key]
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="must have the keys arguments, format, metrics, model, sha256; got"):
        zoo.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch {witness}']", "is not valid YAML .*python/object/apply:os.system"),
        ("model: !!python/name:os.system ''", "is not valid YAML"),
        ("a: [1", "is not valid YAML"),
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


@pytest.mark.parametrize("version", config_file.FORMATS)
def test_config_with_aliases_is_refused(folder: Path, version: int) -> None:
    """Regression: a few lines that say terabytes were read without end in formats 1 and 2."""
    bomb = "".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
    text = (folder / CONFIG).read_text().replace("format: 3", f"format: {version}")
    (folder / CONFIG).write_text(text.replace("arguments:\n", f"arguments:\n  a0: &a0 [x]\n{bomb}"))
    with pytest.raises(ValueError, match=rf"{CONFIG} is not plain YAML: it has the alias \*a0; write the value itself"):
        zoo.load(folder)


def test_config_that_is_no_text(folder: Path) -> None:
    (folder / CONFIG).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="is not valid YAML"):
        zoo.load(folder)


@pytest.mark.parametrize("write", [pickle.dump, lambda what, opened: torch.save(what, opened)], ids=["pickle", "torch"])
def test_renamed_pickle_is_not_unpickled(folder: Path, tmp_path: Path, write: Callable) -> None:
    with (folder / WEIGHTS).open("wb") as opened:
        write({"head.weight": Touch(tmp_path / "witness")}, opened)
    configure(folder)
    with pytest.raises(
        ValueError, match=rf"{WEIGHTS} is not an intact safetensors file .*Pickled weights are never loaded"
    ):
        zoo.load(folder)
    assert not (tmp_path / "witness").exists()


def test_backbone_has_no_file_unpickled(folder: Path, tmp_path: Path) -> None:
    """timm has an option for it, and a pickle could come along as the model card."""
    torch.save({"x": Touch(tmp_path / "witness")}, folder / "README.md")
    arguments = read_config(folder)["arguments"]
    for option in ({"checkpoint_path": str(folder / "README.md")}, {"weights": str(folder / "README.md")}):
        configure(folder, arguments={**arguments, "backbone": {"name": "resnet10t", **option}})
        with pytest.raises(ValueError, match=r"by which timm unpickles a file; give 'weights', a safeten|does not fit"):
            zoo.load(folder)
    configure(folder, arguments={**arguments, "backbone": {"name": "hf-hub:me/birds"}})
    with pytest.raises(ValueError, match="no backbone named 'hf-hub:me/birds'"):
        zoo.load(folder)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bridged_transformer", {"dense": "{outside}"}),
        ("labelfree", {"scores": "{outside}", "concepts": ()}),
        ("posthoc", {"bank": "{outside}", "concepts": ()}),
        ("c3m", {"backbone": {"name": "hf", "model": "{outside}"}}),
    ],
)
def test_no_other_file_is_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """Those arguments name files when a model is made; a checkpoint holds what was in them."""
    outside = tmp_path / "secret"
    outside.write_text("secret")
    model = (of_subwords("c3m") if name == "c3m" else SMALL[name]()).model
    folder = zoo.save(model, tmp_path / "checkpoint")
    told = yaml.safe_load(yaml.safe_dump(options).replace("{outside}", str(outside)))
    configure(folder, arguments={**read_config(folder)["arguments"], **told})
    with pytest.raises(ValueError, match=r"secret', outside of the checkpoint; a checkpoint must hold everything"):
        zoo.load(folder)
