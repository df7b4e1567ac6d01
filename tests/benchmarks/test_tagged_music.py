"""Shares of evidence inside the notes, by hand."""

import torch

from benchmarks.tagged_music import integrated, positions, share


def test_shares_positions_and_integrated_gradients_by_hand() -> None:
    within = torch.tensor([[True, False, False], [False, True, True]])
    assert share(torch.tensor([[3.0, -1.0, 0.0], [2.0, 1.0, -1.0]]), within) == (0.75 + 0.5) / 2
    assert positions(torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]]), 2).tolist() == [[1.0, 1.0]]
    x = torch.tensor([[[1.0, 2.0]]])
    parts = integrated(lambda v: (v**2).flatten(1).sum(1, keepdim=True), x, 0)
    torch.testing.assert_close(parts, x**2)  # of a sum of squares
