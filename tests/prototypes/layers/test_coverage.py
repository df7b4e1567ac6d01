"""The loss that makes every prototype fire somewhere in a batch."""

import math

import pytest
import torch

from zoo.prototypes.layers.coverage import coverage


def test_tanh_loss_by_hand() -> None:
    """Prototype 1 sums to 1.0 over the batch, prototype 2 to 0.1."""
    activation = torch.tensor([[0.7, 0.1], [0.3, 0.0]])
    expected = -(math.log(math.tanh(1.0)) + math.log(math.tanh(0.1))) / 2
    assert coverage(activation).item() == pytest.approx(expected, abs=1e-6)
    assert coverage(torch.zeros(4, 3)).isfinite()
