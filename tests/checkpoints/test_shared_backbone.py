"""Frozen backbones beside checkpoints: kept once, found by hash, and refused when they are not what they should be."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import zoo
from tests.small_models import protopnet
from zoo.checkpoints import config_file
from zoo.checkpoints.config_file import CONFIG, WEIGHTS, read_config
from zoo.checkpoints.shared_backbone import FOLDER
from zoo.checkpoints.verify import verify
from zoo.domain import ImageDomain
from zoo.utils.tensor_hash import fingerprint

DOMAIN = ImageDomain(classes=("a", "b"), concepts=("red", "round"), size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
FROZEN = [{"name": "concepts", "epochs": 1, "train": ["concepts"]}, {"name": "head", "epochs": 1, "train": ["head"]}]


def cbm(seed: int = 0, **changes: Any) -> zoo.SelfInterpretable:
    """Seeds change the head, not the backbone."""
    torch.manual_seed(0)
    model = zoo.create_model(
        "cbm",
        domain=DOMAIN,
        backbone={"name": "convnet", "widths": [4]},
        recipe={"stages": FROZEN},
        training="sequential",
        **changes,
    ).eval()
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.concepts.weight)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return zoo.save(cbm(), tmp_path / "one", share_backbone=True)


def test_two_checkpoints_share_one_file(folder: Path) -> None:
    other = zoo.save(cbm(1), folder.with_name("two"), share_backbone=True)
    (file,) = (folder.parent / FOLDER).iterdir()
    assert file.name.startswith("convnet-")
    for path, seed in ((folder, 0), (other, 1)):
        assert not any(".network." in name for name in load_file(path / WEIGHTS))
        model, loaded = cbm(seed), zoo.load(path)
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
        assert verify(path) == 0


def test_without_sharing_a_checkpoint_stands_alone(tmp_path: Path) -> None:
    path = zoo.save(cbm(), tmp_path / "alone")
    assert "backbones" not in read_config(path) and not (tmp_path / FOLDER).exists()


def test_trained_backbone_is_not_shared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share_backbone requires a frozen backbone"):
        zoo.save(protopnet().model, tmp_path / "a", share_backbone=True)
    assert not list(tmp_path.iterdir())


def test_missing_backbone(folder: Path) -> None:
    shutil.rmtree(folder.parent / FOLDER)
    with pytest.raises(FileNotFoundError, match=r"uses a shared backbone, expected at .*Copy the folder"):
        zoo.load(folder)


def test_other_weights_and_damage_are_noticed(folder: Path) -> None:
    (file,) = (folder.parent / FOLDER).iterdir()
    tensors = load_file(file)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first] + 1e-3}, file)
    with pytest.raises(ValueError, match=r"is not the backbone of .*: its tensors have the SHA-256"):
        zoo.load(folder)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        zoo.load(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file": "../secret.safetensors", "sha256": "0"}, "must be the name of a file in backbones/, without a path"),
        ({"file": "/etc/passwd", "sha256": "0"}, "without a path"),
        ({"file": "weights.pt", "sha256": "0"}, "without a path"),
        ({"file": 1, "sha256": "0"}, "without a path"),
        ({"file": "a.safetensors"}, "must have a 'file' or 'weights', and a 'sha256'"),
        ("a.safetensors", "must have a 'file' or 'weights', and a 'sha256'"),
    ],
)
def test_hostile_entries(folder: Path, entry: object, message: str) -> None:
    config = yaml.safe_load((folder / CONFIG).read_text())
    for backbones in (dict.fromkeys(config["backbones"], entry), {1: entry}):
        config_file.write_config(folder, {**config, "backbones": backbones})
        with pytest.raises(ValueError, match=message if 1 not in backbones else "must have a 'file' or"):
            zoo.load(folder)
    config_file.write_config(folder, {**config, "backbones": [entry]})
    with pytest.raises(ValueError, match="'backbones' must be a mapping; got list"):
        zoo.load(folder)


@given(st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float16, torch.int64]))
def test_fingerprint_tells_apart_and_ignores_order(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(-9, 9, (2, 3), generator=draw).to(dtype) for _ in range(2))
    scalar = torch.tensor(1)
    found = fingerprint({"a": a, "b": b, "c": scalar})
    assert found == fingerprint({"c": scalar.clone(), "b": b.T.contiguous().T, "a": a.clone()})
    changed = a.clone()
    changed[0, 0] += 1
    for other in ({"a": changed, "b": b, "c": scalar}, {"a": a.view(3, 2), "b": b, "c": scalar}, {"a": a, "b": b}):
        assert fingerprint(other) != found
    assert fingerprint({"x": a}) != fingerprint({"y": a})
