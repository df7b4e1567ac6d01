"""A tuned black box becomes a shared backbone by one command, and other models use its file."""

from pathlib import Path

import pytest
import torch
import yaml

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
