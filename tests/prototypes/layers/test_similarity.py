"""Similarities of patches and prototypes by their formulas."""

import math

import pytest
import torch

from zoo.prototypes.layers.similarity import COSINE, EXPONENTIAL, LOG, find_similarity

DISTANCES = [0.0, 0.25, 1.0, 4.0]


def test_similarities_by_hand() -> None:
    d = torch.tensor(DISTANCES)
    log = [math.log((v + 1) / (v + 1e-4)) for v in DISTANCES]
    torch.testing.assert_close(LOG.of(d), torch.tensor(log), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(LOG.support(d), torch.tensor(log) / math.log(1e4), rtol=1e-5, atol=1e-6)
    assert COSINE.of(d).tolist() == [1, 0.875, 0.5, -1] and COSINE.support(d).tolist() == [1, 0.9375, 0.75, 0]
    expected = torch.tensor([math.exp(-math.sqrt(v)) for v in DISTANCES])
    torch.testing.assert_close(EXPONENTIAL.of(d), expected, rtol=1e-5, atol=1e-5)
    assert COSINE.unit_length and not LOG.unit_length and not EXPONENTIAL.unit_length


def test_similarities_by_name() -> None:
    assert find_similarity("log") is LOG and find_similarity("cosine") is COSINE
    with pytest.raises(ValueError, match="similarity must be one of log, cosine; got 'euclid'"):
        find_similarity("euclid")
