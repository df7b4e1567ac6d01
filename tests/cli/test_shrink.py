"""`train.py shrink` and `certify` of what it writes: sizes and effects are those of the files."""

from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.small_models import protopnet
from zoo.checkpoints.config_file import STORAGE, read_config
from zoo.cli.main import main
from zoo.core.storage import Storage
from zoo.data import Digits
from zoo.utils import small_tensors

DATA = {"data": {"class_path": "Digits", "init_args": {"batch_size": 64}}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of digits, and the config beside it as `fit` leaves it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(DATA))
    model = zoo.parts.BagNet(Digits().domain, widths=(16, 32), depths=(1, 2), strides=(2, 1), wide=1).eval()
    return zoo.save(model, folder / "checkpoint", metrics={"accuracy": 0.1}, about={"confusions": []})


def test_sizes_and_effects(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_tensors, "SMALLEST", 16)  # so that the tensors of a small model are rounded, too
    command = ["shrink", "--checkpoint", str(checkpoint), "--storage", "int8", "--output"]
    assert main([*command, str(tmp_path / "small"), "--limit", "70", "--device", "cpu"]) == 0
    told = Storage.from_dict(read_config(tmp_path / "small")[STORAGE])
    assert told.bytes_after < 0.7 * told.bytes_before and told.effect is not None
    assert told.effect.rows == 70 and told.effect.split == "test" and 0 < told.effect.change < 0.1 * told.effect.typical
    assert "weights stored as int8:" in (said := capsys.readouterr().out) and "no certificate" in said
    model = zoo.load(tmp_path / "small")
    assert model.explain(torch.rand(2, *model.domain.shape)).check().scores.dtype == torch.float32
    assert main([*command, str(tmp_path / "unmeasured"), "--limit", "0"]) == 0
    assert Storage.from_dict(read_config(tmp_path / "unmeasured")[STORAGE]).effect is None
    config = ["--config", str(checkpoint.parent / "config.yaml")]
    assert main(["certify", "--checkpoint", str(tmp_path / "small"), "--limit", "20", "--device", "cpu", *config]) == 0
    kept = read_config(tmp_path / "small")
    assert Storage.from_dict(kept[STORAGE]) == told and kept["certificate"]["rows"] == 20


@pytest.mark.parametrize(
    "options, message",
    [
        (["--storage", "int4"], "invalid choice"),
        (["--limit", "-1"], "--limit must be at least 0"),
        (["--output", "CHECKPOINT"], "another folder than the checkpoint"),
        (["--checkpoint", "SMALL"], "are stored as float16 already"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_bad_options(
    options: list[str], message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    small = zoo.save(protopnet().model, tmp_path / "small", storage="float16")
    places = {"CHECKPOINT": str(checkpoint), "SMALL": str(small)}
    command = ["shrink", "--checkpoint", str(checkpoint), "--storage", "int8", "--output", str(tmp_path / "new")]
    try:
        code = main([*command, *(places.get(option, option) for option in options)])
    except SystemExit as error:
        code = error.code
    assert code == 2 and message in capsys.readouterr().err and not (tmp_path / "new").exists()
