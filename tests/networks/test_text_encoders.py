"""The Transformer over words: pooling and padding."""

import pytest
import torch

from zoo.domain import TextDomain
from zoo.networks.encoders import create_encoder

WORDS = tuple(f"word{i}" for i in range(20))


def texts(length: int, **options: object) -> torch.nn.Module:
    """A text encoder with the same weights whatever the length."""
    torch.manual_seed(0)
    domain = TextDomain(classes=("a", "b"), vocabulary=WORDS, length=12)
    encoder = create_encoder({"name": "transformer", "width": 8, "layers": 2, "heads": 2, **options}, domain).eval()
    encoder.position = torch.nn.Parameter(encoder.position[:length])
    return encoder


@pytest.mark.parametrize("pooling", ["masked", "padded"])
def test_pooling_of_full_texts_does_not_depend_on_the_mask(pooling: str) -> None:
    x = torch.randint(2, 22, (3, 12))
    torch.testing.assert_close(texts(12, pooling=pooling)(x), texts(12)(x))


def test_padding_changes_nothing_where_it_is_masked() -> None:
    x = torch.randint(2, 22, (3, 5))
    longer = torch.cat([x, torch.zeros(3, 7, dtype=torch.long)], 1)
    torch.testing.assert_close(texts(12)(longer), texts(5)(x))
    assert not torch.allclose(texts(12, pooling="padded")(longer), texts(5, pooling="padded")(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'masked' or 'padded'; got 'max'"),
        ({"heads": 3}, "a width that is a multiple of heads, .*; got 2, 8 and 3, 0.1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\); got 2, 8 and 2, 1.0"),
    ],
)
def test_invalid_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        texts(12, **options)
