"""Encoders: what a vector is made of."""

import pytest
import torch

import zoo
from tests.small_models import SERIES
from zoo.domain import Domain, ImageDomain, TableDomain, TextDomain
from zoo.networks import image_backbones
from zoo.networks.encoders import create_encoder
from zoo.networks.image_backbones import Backbone, register_backbone

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
    with pytest.raises(ValueError, match="the backbone of a table is 'mlp' or 'identity'; got 'convnet'"):
        create_encoder("convnet", table)
    with pytest.raises(ValueError, match="no encoder reads the modality ''"):
        create_encoder("mlp", Domain(classes=("a", "b")))


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
def test_text_encoder_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        texts(12, **options)


def test_an_own_network_is_a_backbone_for_every_model() -> None:
    @register_backbone("striped")
    def striped(in_channels: int, width: int = 5) -> Backbone:
        return Backbone(torch.nn.Conv2d(in_channels, width, (4, 1), (4, 1)), in_channels, width)

    try:
        assert create_encoder({"name": "striped", "width": 7}, STACK)(torch.randn(2, 5, 8, 8)).shape == (2, 7)
        model = zoo.create_model(
            "sop", domain=STACK, backbone="striped", elements={"patch": 4}, grouping={"groups": 2, "size": 1}
        ).eval()
        model.explain(torch.randn(2, 5, 8, 8)).check()
        with pytest.raises(ValueError, match="there is a backbone named 'striped' already"):
            register_backbone("striped")
        register_backbone("odd")(lambda channels: "network")
        with pytest.raises(
            ValueError, match=r"backbone 'odd' must return a Backbone of zoo.networks.image_backbones; got 'network'"
        ):
            create_encoder("odd", STACK)
        with pytest.raises(ValueError, match="did you mean 'striped'"):
            create_encoder("stripped", STACK)
    finally:
        image_backbones._registered.clear()


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
    with pytest.raises(ValueError, match="the backbone of a series is 'convnet1d'; got 'mlp'"):
        create_encoder("mlp", SERIES)
