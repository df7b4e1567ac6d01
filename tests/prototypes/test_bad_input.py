"""Data and backbones that prototype models refuse, before training where that is possible."""

import pytest
import torch

import zoo
from tests.small_models import IMAGES, RandomImages, protopnet
from tests.toy import COLOURS, ToyData, fit
from zoo.training.projection_set import ProjectionSet


@pytest.mark.parametrize("name", ["protopnet", "prototree", "protopool", "pipnet", "protosvit"])
def test_a_map_of_one_cell(name: str) -> None:
    backbone = {"name": "convnet", "widths": [4, 4, 4], "pool": [0, 1, 2]}
    model = zoo.create_model(name, domain={**COLOURS.to_dict(), "size": (8, 8)}, backbone=backbone)
    with pytest.raises(ValueError, match="compares patches, but this backbone's map of inputs 8 x 8 is 1 x 1; choose"):
        fit(model, ToyData())


def test_fewer_images_than_prototypes_of_a_class() -> None:
    model = zoo.create_model(
        "protopnet",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [4], "pool": [0]},
        prototypes_per_class=4,
        dim=4,
    )
    with pytest.raises(
        ValueError, match=r"3 classes have fewer training images than the 4 .* with 3\), .* to 3, or add"
    ):
        model.push(ProjectionSet(RandomImages()))
    assert not model.prototypes.pushed


def test_a_class_without_images() -> None:
    model, images = protopnet().model, RandomImages()
    images.targets = torch.zeros_like(images.targets)
    with pytest.raises(ValueError, match=r"2 classes have no training image to take prototypes from: \[1, 2\]"):
        model.push(ProjectionSet(images))
