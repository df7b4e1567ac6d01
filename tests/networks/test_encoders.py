"""The encoder of a domain, by its specification."""

import re

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


@pytest.mark.parametrize(
    ("domain", "spec", "message"),
    [
        (IMAGES, {"name": "convnet", "width": [4]}, "has no option 'width'; did you mean 'widths'?"),
        (
            IMAGES,
            {"name": "resnet18", "output_strid": 8},
            "has no option 'output_strid'; did you mean 'output_stride'?",
        ),
        (
            IMAGES,
            {"name": "resnet18", "pretraind": 1},
            "has no option 'pretraind'; did you mean 'pretrained'?",
        ),
        (ROWS, {"name": "mlp", "hiden": [4]}, "backbone 'mlp' has no option 'hiden'; "),
        (
            SERIES,
            {"name": "convnet1d", "width": [4]},
            "has no option 'width'; did you mean 'widths'?",
        ),
        (SENTENCES, {"name": "transformer", "haeds": 2}, "has no option 'haeds'; did you mean 'heads'?"),
    ],
)
def test_a_misspelt_option_of_a_backbone(domain: Domain, spec: dict, message: str) -> None:
    """The message was Python's own, without a near match."""
    with pytest.raises(TypeError, match=re.escape(message)):
        create_encoder(spec, domain)
