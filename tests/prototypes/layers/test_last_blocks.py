"""The last blocks of a backbone as a parameter group of their own."""

import pytest
import torch

from tests.small_models import IMAGES
from zoo.networks.image_backbones import Backbone, create_backbone
from zoo.prototypes import PIPNet
from zoo.prototypes.layers.last_blocks import split_last_blocks
from zoo.training.modes import train_only


def test_every_parameter_is_in_the_last_blocks_or_in_the_rest() -> None:
    model = PIPNet(IMAGES, backbone={"name": "convnet", "widths": [4, 6], "pool": [0]}, prototypes=5, tail=2)
    groups = model.groups()
    assert set(groups) == {"backbone", "tail", "addon", "head"}
    ids = [id(p) for group in groups.values() for p in group.parameters()]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    train_only(model.groups(), ("tail", "head"))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    last = {"backbone.network.10.weight", "backbone.network.11.weight", "backbone.network.11.bias"}
    assert learning == {"head.weight", *last}
    assert not model.backbone.network[1].training and model.backbone.network[11].training


@pytest.mark.parametrize("name", ["mobilenetv2_050", "resnet18", "convnext_atto"])
def test_networks_of_timm_are_split_and_lose_their_late_strides(name: str) -> None:
    backbone = create_backbone({"name": name, "output_stride": 8}, 3).eval()
    rest, last = split_last_blocks(backbone, 2)
    assert sum(p.numel() for part in (rest, last) for p in part.parameters()) == sum(
        p.numel() for p in backbone.parameters()
    )
    assert len(last) == 2 and all(any(True for _ in block.parameters()) for block in last)
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 64)).shape[2:] == (8, 8)


def test_parameters_outside_of_all_blocks_are_refused() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1))
    network.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match=r"last 1 blocks .* own: 1 of its parameters belong to no block"):
        split_last_blocks(Backbone(network, 3, 4), 1)
