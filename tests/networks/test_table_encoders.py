"""Encoders of rows of a table."""

import pytest
import torch
from torch.nn import functional as F

from zoo.networks.table_encoders import MLP, Identity


def test_every_layer_has_an_activation() -> None:
    mlp = MLP(3, widths=(4, 2), activation="relu")
    x = torch.randn(5, 3)
    first, _, second, _ = mlp.layers
    expected = F.relu(F.linear(F.relu(F.linear(x, first.weight, first.bias)), second.weight, second.bias))
    assert torch.equal(mlp(x), expected) and mlp.channels == 2


def test_identity() -> None:
    x = torch.randn(5, 3)
    assert Identity(3)(x) is x and Identity(3).channels == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sine"}, "activation must be one of relu, leaky_relu, tanh, gelu; got 'sine'"),
        ({"widths": []}, r"widths must be one or more numbers above 0; got \[\]"),
        ({"widths": [4, 0]}, r"widths must be one or more numbers above 0; got \[4, 0\]"),
    ],
)
def test_invalid_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(3, **options)
