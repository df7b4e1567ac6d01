"""Packages of weights made on the spot: a folder with metadata and a file, whose code must not run."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.subwords import tiny_bert
from zoo.utils import weight_packages
from zoo.utils.tensor_hash import fingerprint
from zoo.utils.weight_packages import WeightPackage

NETWORK = "test_resnet"  # of timm, 0.5 million weights


def renamed() -> dict[str, Tensor]:
    """Weights of `NETWORK` under other names, in the order of timm."""
    torch.manual_seed(5)
    return {f"_w{i}": tensor for i, tensor in enumerate(timm.create_model(NETWORK).state_dict().values())}


def known(sha256: str, file: str = "fake_weights/models/*.pth", **changes: object) -> WeightPackage:
    options = {
        "network": NETWORK,
        "name": "fake-weights",
        "version": "1.0",
        "file": file,
        "sha256": sha256,
        "shared": "0" * 64,
        "megabytes": 2,
        "hub": "timm/test_resnet.r160_in1k",
        "hub_megabytes": 3,
        "kind": "image",
        "about": "random",
        **changes,
    }
    return WeightPackage(**options)  # type: ignore[arg-type]


def make_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tensors: Mapping[str, Tensor] | None = None, sha256: str = ""
) -> Path:
    """Puts a package on the path, makes it a known one, and returns its file of weights."""
    tensors = renamed() if tensors is None else tensors
    file = folder / "fake_weights" / "models" / "a.pth"
    file.parent.mkdir(parents=True)
    torch.save(dict(tensors), file)
    (folder / "fake_weights" / "__init__.py").write_text("raise AssertionError('code of a weight package was run')\n")
    place_metadata(folder, ["fake_weights/__init__.py", "fake_weights/models/a.pth"])
    package = known(sha256 or fingerprint(tensors))
    monkeypatch.setattr(weight_packages, "PACKAGES", (package,))
    monkeypatch.syspath_prepend(str(folder))
    assert "fake_weights" not in sys.modules
    return file


def make_text_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a package with a tiny BERT on the path as the text encoder "tiny", and returns the folder of its model."""
    model = folder / "fake_weights" / "model"
    model.mkdir(parents=True)
    torch.manual_seed(1)
    tiny_bert(model)
    place_metadata(folder, [f"fake_weights/model/{name}" for name in ("config.json", "model.safetensors")])
    sha256 = fingerprint(load_file(model / "model.safetensors"))
    package = known(sha256, "fake_weights/model/model.safetensors", network="tiny", hub="some/tiny", kind="text")
    monkeypatch.setattr(weight_packages, "PACKAGES", (package,))
    monkeypatch.syspath_prepend(str(folder))
    return model


def place_metadata(folder: Path, files: list[str]) -> None:
    """The dist-info folder of the package, as pip writes it."""
    info = folder / "fake_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
