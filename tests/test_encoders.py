"""Encoders: what a vector is made of."""

import pytest
import torch

from zoo.domain import Domain, ImageDomain, TableDomain
from zoo.encoders import create_encoder

STACK = ImageDomain(classes=("a", "b"), size=(8, 8), channels=5, mean=(0.5,) * 5, std=(0.5,) * 5)
SMALL = {"name": "convnet", "widths": [6], "strided": True}


def test_every_channel_alone() -> None:
    """Channel c alone makes its own part of the vector, and all channels are read with the same weights."""
    encoder = create_encoder({**SMALL, "each_channel": True}, STACK).eval()
    x = torch.randn(3, 5, 8, 8)
    found = encoder(x)
    assert found.shape == (3, encoder.channels) == (3, 30)
    parts = found.view(3, 5, 6)
    for c in range(5):
        torch.testing.assert_close(parts[:, c], encoder.backbone(x[:, c : c + 1]).mean((2, 3)))
    changed = x.clone()
    changed[:, 2] += 1
    differs = (encoder(changed) - found).view(3, 5, 6).abs().amax((0, 2)) > 1e-4
    assert differs.tolist() == [False, False, True, False, False]
    torch.testing.assert_close(encoder(x[:, [1, 0, 2, 3, 4]]).view(3, 5, 6), parts[:, [1, 0, 2, 3, 4]])


@pytest.mark.parametrize("option", [{}, {"each_channel": False}])
def test_all_channels_at_once(option: dict[str, bool]) -> None:
    encoder = create_encoder({**SMALL, **option}, STACK).eval()
    x = torch.randn(3, 5, 8, 8)
    torch.testing.assert_close(encoder(x), encoder.backbone(x).mean((2, 3)))
    assert encoder.channels == 6


def test_export_at_another_batch_size() -> None:
    encoder = create_encoder({**SMALL, "each_channel": True}, STACK).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(encoder, (torch.randn(2, 5, 8, 8),), dynamic_shapes=({0: batch},)).module()
    x = torch.randn(7, 5, 8, 8)
    torch.testing.assert_close(program(x), encoder(x))


def test_encoders_that_do_not_fit() -> None:
    table = TableDomain(classes=("a", "b"), features=("x", "y"))
    with pytest.raises(ValueError, match="the backbone of a table is 'mlp'; got 'convnet'"):
        create_encoder("convnet", table)
    with pytest.raises(ValueError, match="no encoder reads the modality ''"):
        create_encoder("mlp", Domain(classes=("a", "b")))
