"""Calibration after the model: known maps are found, and scores stay as they are."""

from pathlib import Path

import pytest
import torch

import zoo
from zoo.additive.ga2m import GA2M
from zoo.data import SyntheticTable
from zoo.training.calibration import Calibration


def logits(count: int, slope: float, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores whose calibrated log-odds are slope * odds + shift."""
    draw = torch.Generator().manual_seed(0)
    odds = torch.randn(count, generator=draw) * 3
    target = (torch.rand(count, generator=draw) < torch.sigmoid(slope * odds + shift)).long()
    return torch.stack([-odds / 2, odds / 2], 1), target


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_the_true_probabilities_are_found(kind: str, tmp_path: Path) -> None:
    scores, target = logits(20_000, 0.5, 0.7)
    found = Calibration.fit(scores, target, kind)
    truth = torch.sigmoid(0.5 * scores.diff()[:, 0] + 0.7)
    p = found.probabilities(scores)
    assert (p[:, 1] - truth).abs().mean() < 0.02 and torch.allclose(p.sum(1), torch.ones(len(p)))
    if kind == "platt":
        assert (found.slope, found.shift) == pytest.approx((0.5, 0.7), abs=0.05)
    found.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == found
    far = found.probabilities(torch.tensor([[500.0, -500.0], [-500.0, 500.0]]))[:, 1]
    assert 0 <= far[0] < 0.05 and far[1] > 0.95


def test_a_temperature_of_three_classes() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(20_000, 3, generator=draw) * 4
    target = torch.multinomial((scores / 2).softmax(1), 1, generator=draw)[:, 0]
    assert Calibration.fit(scores, target).slope == pytest.approx(0.5, abs=0.02)


def test_of_a_model_and_what_is_refused(tmp_path: Path) -> None:
    data = SyntheticTable("additive", count=300, batch_size=300)
    model = GA2M(data.domain, pairs=0, bins=8)
    zoo.fit(model, data, progress=False)
    x = torch.stack([data.test_dataset()[i]["input"] for i in range(5)])
    before = model(x)
    assert zoo.calibrate(model, data).probabilities(before).shape == before.shape
    assert torch.equal(model(x), before)
    scores, target = logits(50, 1, 0)
    with pytest.raises(ValueError, match="kind must be one of platt, isotonic; got 'beta'"):
        Calibration.fit(scores, target, "beta")
    with pytest.raises(ValueError, match="isotonic calibration is for two classes; got 3"):
        Calibration.fit(torch.randn(50, 3), target, "isotonic")
    with pytest.raises(ValueError, match="needs rows of two classes or more; got 50 rows of one"):
        Calibration.fit(scores, torch.zeros(50))
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(ValueError, match=r"c\.json is not a calibration"):
        Calibration.load(tmp_path / "c.json")
