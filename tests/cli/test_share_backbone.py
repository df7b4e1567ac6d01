"""A tuned black box becomes a shared backbone by one command, and other models use its file."""

from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.small_models import CONCEPTS, IMAGES, settings_of
from zoo.checkpoints.shared_backbone import write
from zoo.cli.main import main
from zoo.networks.image_backbones import create_backbone
from zoo.training.callbacks import read_checkpoint

CONFIG = {
    "model": {
        "class_path": "BlackBox",
        "init_args": {
            "backbone": {"name": "test_resnet", "weights": None},
            "smoothing": 0.1,
            "recipe": {
                "stages": [{"name": "train", "epochs": 1, "train": ["backbone", "head"], "cosine": True}],
                "lr": {"backbone": 0.001, "head": 0.001},
            },
        },
    },
    "data": {"class_path": "Digits", "init_args": {"batch_size": 256}},
    "trainer": {"logger": False, "limit_train_batches": 1, "limit_test_batches": 1},
}


def test_from_a_run_to_a_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("twin.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["fit", "--config", "twin.yaml"]) == 0
    capsys.readouterr()
    assert main(["share-backbone", "--run", "runs/twin", "--output", "shelf"]) == 0
    (file,) = Path("shelf").iterdir()
    told = capsys.readouterr().out
    spec = yaml.safe_load(told.partition("\n")[2])["backbone"]
    assert spec == {"name": "test_resnet", "weights": str(file)}
    found = create_backbone(spec, 1).state_dict()
    trained = read_checkpoint(Path("runs/twin/best.ckpt"))["state_dict"]
    for name, tensor in found.items():
        expected = trained[f"backbone.backbone.{name}"]
        assert torch.equal(tensor, expected.half().float() if expected.is_floating_point() else expected)
    assert main(["share-backbone", "--run", "runs/other"]) == 2
    assert "has neither best.ckpt nor last.ckpt" in capsys.readouterr().err


def test_every_image_model_takes_the_file(tmp_path: Path) -> None:
    """As its backbone, of which all tensors are in the model, whatever it builds on top."""
    torch.manual_seed(0)
    tensors = create_backbone("test_resnet", 3).state_dict()
    file = write({n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}, "test_resnet", tmp_path)
    domain, built = replace(IMAGES, size=(64, 64), concepts=CONCEPTS), []
    for entry in zoo.core.registry.entries():
        settings = settings_of(entry.name) if entry.modality[0] == "image" else None
        if settings is None or "backbone" not in signature(entry.cls.__init__).parameters:
            continue
        if entry.name in ("direct_logit", "token_vote", "bcos", "sic"):  # read transformers alone, or chains alone
            continue
        spec = {"name": "test_resnet", "weights": str(file)}
        model = entry.cls(domain=domain, **{**settings.options, "backbone": spec})
        found = {name.rpartition("network.")[2]: t for name, t in model.backbone.state_dict().items()}
        for name, tensor in tensors.items():
            expected = tensor.half().float() if tensor.is_floating_point() else tensor
            assert torch.equal(found[name.removeprefix("network.")], expected), (entry.name, name)
        built.append(entry.name)
    assert len(built) > 12, built
