"""Convolutions over time: receptive field, pooling and errors."""

import pytest
import torch

from tests.small_models import SERIES
from zoo.networks.encoders import create_encoder


def test_the_series_encoder_reads_around_each_step_and_pools_by_the_mean() -> None:
    encoder = create_encoder({"name": "convnet1d", "widths": [6], "kernels": [4]}, SERIES).eval()
    x = torch.randn(2, 11, 2)
    assert encoder.states(x).shape == (2, 11, 6)
    torch.testing.assert_close(encoder(x), encoder.states(x).mean(1))
    changed = x.clone()
    changed[:, 5] += 1
    touched = (encoder.states(changed) != encoder.states(x)).any(2).any(0)
    assert touched.nonzero().flatten().tolist() == [3, 4, 5, 6]
    with pytest.raises(ValueError, match=r"as many numbers above 0; got \[6\] and \[4, 3\]"):
        create_encoder({"name": "convnet1d", "widths": [6], "kernels": [4, 3]}, SERIES)
    with pytest.raises(ValueError, match="the backbone of a series is 'convnet1d' or 'patch_transformer'; got 'mlp'"):
        create_encoder("mlp", SERIES)
