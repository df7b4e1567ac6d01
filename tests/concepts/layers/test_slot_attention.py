"""Slot attention: rescaled rows and the position code."""

import torch

from zoo.concepts.layers.slot_attention import position_code, rescaled


def test_rows_of_scores_keep_away_from_a_sum_of_zero() -> None:
    scores = torch.tensor([[[1.0, -1.0], [1.0, 2.0]]], requires_grad=True)  # the first row sums to 0
    out = rescaled(scores)
    assert out.isfinite().all() and out.abs().max() <= 3 / 1e-3
    torch.testing.assert_close(out[0, 1], torch.tensor([1.0, 2.0]))  # its own sum is the sum of all


def test_position_code_tells_every_cell_apart() -> None:
    code = position_code(8, 5, 7, torch.device("cpu"))
    assert code.shape == (8, 35) and code.abs().max() <= 1
    assert torch.cdist(code.T, code.T).add(torch.eye(35) * 9).min() > 0.05
