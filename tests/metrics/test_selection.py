"""Tests of selectors on one that reads its evidence and on one that encodes the label in its choice."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.small_models import ROWS
from zoo.metrics import selection_report
from zoo.selectors import LEX
from zoo.training.batch import Batch


class Batches:
    """Rows of three normal numbers; the class is the sign of the first, which is the evidence."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(8):
            x = torch.randn(128, 3, generator=generator)
            regions = torch.zeros(128, 1, 3)
            regions[:, :, 0] = 1
            yield {"input": x, "target": (x[:, 0] > 0).long(), "regions": regions}


class Fixed(nn.Module):
    """Logits of a choice by rule."""

    def __init__(self, cheats: bool) -> None:
        super().__init__()
        self.cheats = cheats

    def forward(self, x: Tensor) -> Tensor:
        if not self.cheats:
            return torch.tensor([9.0, -9.0, -9.0]).expand_as(x)
        second = x[:, :1] > 0  # selects the second feature for one class and the third for the other, never the first
        return torch.cat([torch.full_like(second, 0), second, ~second], 1) * 18.0 - 9.0


class Reads(nn.Module):
    """Answers by the first feature, or by which of the other two is not 0."""

    channels = 3

    def __init__(self, cheats: bool) -> None:
        super().__init__()
        self.cheats = cheats

    def forward(self, x: Tensor) -> Tensor:
        if self.cheats:
            return torch.stack([(x[:, 2] != 0).float(), (x[:, 1] != 0).float(), -torch.ones(len(x))], 1) * 9
        return torch.stack([-x[:, 0], x[:, 0], -9 * torch.ones(len(x))], 1) * 9


def selector(cheats: bool) -> LEX:
    model = LEX(ROWS, "realx", {"name": "mlp", "widths": [16]})
    model.selector, model.predictor = Fixed(cheats), Reads(cheats)  # pyright: ignore
    model.head = nn.Linear(3, 3, bias=False)
    nn.init.eye_(model.head.weight)
    return model.eval()


def test_a_selector_that_reads_its_evidence_passes() -> None:
    report = selection_report(selector(False), Batches(0), Batches(1), epochs=12)
    assert report.accuracy == 1 and report.selected == pytest.approx(1 / 3)
    assert report.evalx > 0.8 > report.evalx_random + 0.1 and report.evalx_complete > 0.8
    assert report.mask_only == pytest.approx(report.commonest, abs=0.06)
    assert report.again == 1 and report.swapped == 1
    assert (report.true_positive_rate, report.false_positive_rate, report.false_discovery_rate) == (1, 0, 0)
    assert report.auprc == 1


def test_a_selector_that_encodes_its_answer_is_told() -> None:
    report = selection_report(selector(True), Batches(0), Batches(1), epochs=12)
    assert report.accuracy == 1
    assert report.evalx < 0.6 and report.mask_only == 1  # its own values say nothing, its choice everything
    assert report.swapped < 0.7 and report.again < 1
    assert (report.true_positive_rate, report.false_discovery_rate) == (0, 1)
    assert report.auprc == pytest.approx(1 / 3)  # ranked last, beside the third feature


def test_models_that_select_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="for models that select elements; Linear does not"):
        selection_report(nn.Linear(3, 3), [], [])
