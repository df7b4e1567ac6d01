"""Where prototypes come from: boxes, pictures and names lead back to the training images."""

import pytest
import torch
from torch.nn import functional as F

from tests.small_models import IMAGES, RandomImages, protopnet
from zoo.prototypes import ProtoPNet
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [4], "pool": []}


@pytest.mark.parametrize("thumbnail", [16, 4])
def test_provenance_leads_back_to_the_pixels(thumbnail: int) -> None:
    data = RandomImages(30)
    model = ProtoPNet(IMAGES, backbone=TINY, prototypes_per_class=2, dim=4, thumbnail=thumbnail).eval()
    model.push(ProjectionSet(data, batch_size=7))
    for j, unit in enumerate(model.units()):
        source, i = unit.source, unit.source["index"]
        assert unit.name == f"{IMAGES.classes[j // 2]} #{j % 2 + 1}" and unit.target == j // 2 == data.targets[i]
        assert source["image"] == f"noise-{i}.png"
        for top, left, bottom, right in (source["box"], source["region"]):
            assert 0 <= top < bottom <= 12 and 0 <= left < right <= 10
        cell = divmod(source["cell"], 10)  # no pooling: a cell is a pixel, and it is the nearest one
        assert source["box"][0] <= cell[0] < source["box"][2] and source["box"][1] <= cell[1] < source["box"][3]
        top, left, bottom, right = source["region"]
        crop = IMAGES.picture(data.inputs[i])[:, top:bottom, left:right]
        assert bottom - top == right - left
        if bottom - top <= thumbnail:  # enlarged by repeating pixels
            near = ((torch.arange(thumbnail) + 0.5) * (bottom - top) / thumbnail).long()
            assert torch.equal(unit.picture, crop[:, near][:, :, near])
        else:
            shrunk = F.interpolate(crop[None].float(), (thumbnail, thumbnail), mode="bilinear", antialias=True)[0]
            assert (unit.picture - shrunk).abs().max() <= 1  # of 255: rounding


def test_long_and_foreign_names_survive_in_the_buffers() -> None:
    class Named(RandomImages):
        def name(self, i: int) -> str:
            return "…/" * 50 + f"zażółć-🐦-{i}.png"

    model = protopnet().model
    model.push(ProjectionSet(Named()))
    for unit in model.units():
        assert unit.source["image"].endswith(f"zażółć-🐦-{unit.source['index']}.png")
        assert len(unit.source["image"].encode()) <= 96
