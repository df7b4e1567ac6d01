"""What the benchmarks of selectors measure, against independent formulas."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.encoding import page
from benchmarks.runs import ROOT
from benchmarks.selectors import recovery, runs, without_each_word
from zoo.domain.text import PAD, UNKNOWN


def test_every_run_has_a_config() -> None:
    for config, _ in runs().values():
        assert (ROOT / "configs" / "selectors" / f"{config}.yaml").is_file()


class Votes(nn.Module):
    """Scores (B, 2) that are sums of a vote of each word for the second class."""

    def forward(self, x: Tensor) -> Tensor:
        votes = torch.where((x == PAD) | (x == UNKNOWN), 0.0, x.float()).sum(1)
        return torch.stack([torch.zeros_like(votes), votes], 1)


def test_leaving_out_a_word_changes_the_score_by_its_vote() -> None:
    x = torch.tensor([[5, 9, PAD], [7, UNKNOWN, 3]])
    model: Any = Votes()
    assert without_each_word(model)(x).tolist() == [[2.5, 4.5, 0.0], [3.5, 0.0, 1.5]]  # relative to the mean score


def test_recovery_reads_the_places_of_images() -> None:
    regions = torch.zeros(1, 2, 2, 2)
    regions[0, 0, 0, 1] = regions[0, 1, 1, 1] = 1
    data: Any = SimpleNamespace(
        test_dataloader=lambda: [{"input": torch.zeros(1, 3, 2, 2), "target": torch.zeros(1), "regions": regions}]
    )
    values = torch.tensor([[[0.2, 0.9], [0.5, 0.4]]])
    assert recovery(lambda x: values, data) == pytest.approx((1 + 2 / 3) / 2)


def test_the_page_gives_shares_in_percent() -> None:
    run = {
        "selected": 0.1,
        "accuracy": 0.9,
        "evalx": 0.65,
        "mask_only": 0.4,
        "false_positive_rate": 0.0,
        "again": 0.5,
        "swapped": 0.25,
    }
    assert "| a constant | 2 | 1 | 10.0 | 90.0 | 65.0 | 40.0 | 0.0 | 50.0 | 25.0 |" in page({"constant, 2": [run]})
