"""The encoder of a domain, by its specification."""

import pytest
import torch

from tests.small_models import IMAGES, ROWS, SENTENCES, SERIES
from zoo.domain import Domain, TableDomain
from zoo.networks.encoders import create_encoder


@pytest.mark.parametrize(
    ("domain", "spec"),
    [
        (IMAGES, {"name": "convnet", "widths": [4]}),
        (ROWS, "mlp"),
        (ROWS, "identity"),
        (SERIES, "convnet1d"),
        (SENTENCES, "transformer"),
    ],
)
def test_a_vector_for_every_input(domain: Domain, spec: str | dict) -> None:
    encoder = create_encoder(spec, domain).eval()
    x = domain.example(3, torch.Generator().manual_seed(0))
    assert encoder(x).shape == (3, encoder.channels)


def test_encoders_that_do_not_fit() -> None:
    table = TableDomain(classes=("a", "b"), features=("x", "y"))
    with pytest.raises(ValueError, match="the backbone of a table is 'mlp' or 'identity'; got 'convnet'"):
        create_encoder("convnet", table)
    with pytest.raises(ValueError, match="no encoder reads the modality ''"):
        create_encoder("mlp", Domain(classes=("a", "b")))
