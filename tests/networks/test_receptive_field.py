"""Receptive fields: what is computed from the layers is what gradients reach."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.small_models import IMAGES
from zoo.networks.image_backbones import create_backbone
from zoo.networks.receptive_field import ReceptiveField, receptive_field
from zoo.training.black_box import BlackBox


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "convnet", "widths": [4, 4, 4], "strided": True}, ReceptiveField(15, 8, -7)),
        ({"name": "convnet", "widths": [4, 4, 4], "strided": [2, 2, 1]}, ReceptiveField(15, 4, -7)),
        ({"name": "convnet", "widths": [4, 4], "pool": [0]}, ReceptiveField(14, 2, -6)),
        ({"name": "bagnet", "widths": [8, 8, 8], "depths": [1, 2, 1], "strides": [2, 2, 1]}, None),
    ],
)
def test_a_cell_depends_on_its_field_only(spec: dict, expected: ReceptiveField | None) -> None:
    if spec["name"] == "bagnet":
        spec, expected = {**spec, "wide": 3}, ReceptiveField(3 + 2 + 4 + 8, 4, 0)
    torch.manual_seed(0)
    backbone = create_backbone(spec, 3)
    field = backbone.receptive_field
    assert field == expected
    for layer in backbone.modules():  # no unit may be dead, so that all of the field has a gradient
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.abs_()
    x = torch.rand(1, 3, 40, 36, requires_grad=True)
    cells = backbone.eval()(x).sum(1)[0]
    height, width = cells.shape
    for row, column in ((0, 0), (height // 2, width // 2), (height - 1, width - 1)):
        (gradient,) = torch.autograd.grad(cells[row, column], x, retain_graph=True)
        covered = field.covers(height, 40)[row][:, None] & field.covers(width, 36)[column]
        seen = gradient[0].abs().sum(0) > 0
        assert not (seen & ~covered).any()
        if "pool" not in spec:  # the gradient of a maximum reaches one pixel of four
            assert torch.equal(seen, covered)


def test_networks_of_timm_have_no_known_field() -> None:
    assert create_backbone("resnet10t", 3).receptive_field is None
    assert receptive_field(nn.Sequential(nn.Conv2d(3, 4, (3, 5)))) is None


def test_strides_fit_the_widths() -> None:
    with pytest.raises(ValueError, match="one stride for each width"):
        create_backbone({"name": "convnet", "widths": [4, 4], "strided": [2]}, 3)


def test_the_backbone_of_a_black_box_starts_another_with_other_strides(tmp_path: Path) -> None:
    box = BlackBox(IMAGES, {"name": "convnet", "widths": [4, 6], "strided": True})
    save_file(box.state_dict(), tmp_path / "black_box.safetensors")
    spec = {"name": "convnet", "widths": [4, 6], "strided": [2, 1], "weights": str(tmp_path / "black_box.safetensors")}
    finer = create_backbone(spec, IMAGES.channels)
    state = box.backbone.backbone.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in finer.network.state_dict().items())
    with pytest.raises(ValueError, match="does not fit this backbone"):
        create_backbone({**spec, "widths": [4, 7]}, IMAGES.channels)
