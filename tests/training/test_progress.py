"""Progress of a training whose output is not a terminal."""

from typing import Any

import pytest
from lightning import Callback, Trainer

from tests.toy import COLOURS, ToyData
from tests.utils.test_progress import Clock
from zoo.training.black_box import BlackBox
from zoo.training.progress import LineProgress
from zoo.utils import progress


class Slow(Callback):
    """Lets every batch take four seconds of a clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *given: Any) -> None:
        self.clock.now += 4

    def on_validation_batch_start(self, *given: Any) -> None:
        self.clock.now += 4


def test_lines_have_place_rate_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Lightning's bar fills a log file with fragments."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    model = BlackBox(COLOURS, {"name": "convnet", "widths": [2]})
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=2, num_sanity_val_steps=0, accelerator="cpu", callbacks=[Slow(clock), LineProgress()], **options
    )
    trainer.fit(model, datamodule=ToyData())  # 2 epochs of 6 batches to train and 3 to validate: 72 s
    lines = [line for line in capsys.readouterr().out.splitlines() if "batch" in line]
    assert len(lines) == 6 and lines[0] == "epoch 1 of 2, batch 3; 4 s per batch, 36 s left"
    assert lines[3].startswith("epoch 2 of 2, batch 3, val/accuracy ") and ", train/loss " in lines[3]
    assert any(line.startswith("validation, batch ") for line in lines)
    trainer.validate(model, datamodule=ToyData(), verbose=False)
    assert capsys.readouterr().out.strip() == "validation, batch 3 of 3; 4 s per batch, 0 s left"
