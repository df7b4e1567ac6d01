"""Image backbones and their pooling: separate channels, export, registered networks, precomputed maps."""

import pytest
import torch

import zoo
from zoo.domain import ImageDomain
from zoo.networks import image_backbones
from zoo.networks.base import Features
from zoo.networks.encoders import create_encoder
from zoo.networks.image_backbones import Backbone, convnet, create_backbone, register_backbone

STACK = ImageDomain(classes=("a", "b"), size=(8, 8), channels=5, mean=(0.5,) * 5, std=(0.5,) * 5)
SMALL = {"name": "convnet", "widths": [6], "strided": True}


def test_every_channel_separately() -> None:
    """A part of the vector depends on one channel only, and all channels are read with the same weights."""
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


def test_a_registered_network_is_a_backbone_for_every_model() -> None:
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


def test_feature_maps_are_returned_as_they_are() -> None:
    """Also with as many channels as images have, which tells nothing about what they are."""
    backbone = convnet(3, widths=(3,), strided=True).eval()
    x = torch.randn(2, 3, 4, 4)
    maps = backbone(x)
    again = backbone(maps.as_subclass(Features))
    assert torch.equal(again, maps) and type(again) is torch.Tensor
    assert not torch.equal(backbone(x), x)
    assert type(maps.as_subclass(Features) * 2) is torch.Tensor  # what is computed of them is no longer a map


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "deit_tiny_distilled_patch16_224"])
def test_channels_are_those_of_the_map_at_any_size(name: str) -> None:
    """`num_features` of MobileNetV3 is that of its classifier's input before the last convolution."""
    backbone = create_backbone(name, 3)
    assert backbone.training and all(module.training for module in backbone.modules())
    backbone.eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 64)).shape[:2] == (1, backbone.channels)
    if "patch16" in name:
        with pytest.raises(ValueError, match=r"cannot read images of 70 x 70 .*change the size in the data"):
            backbone(torch.zeros(1, 3, 70, 70))


def test_maps_with_channels_last_are_refused() -> None:
    with pytest.raises(ValueError, match="'swin_tiny_patch4_window7_224' gives maps with channels last"):
        create_backbone({"name": "swin_tiny_patch4_window7_224", "depths": (1, 1, 1, 1), "embed_dim": 32}, 3)
