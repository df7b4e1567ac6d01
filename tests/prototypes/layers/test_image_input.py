"""What prototype models check of their inputs."""

import pytest

from tests.small_models import IMAGES, ROWS
from zoo.domain import ImageDomain
from zoo.networks.image_backbones import convnet
from zoo.prototypes.layers.image_input import require_grid, require_images


def test_a_map_of_one_cell_is_refused() -> None:
    single = convnet(3, widths=[4, 4, 4, 4], pool=[0, 1, 2])
    assert require_grid(convnet(3, widths=[4], pool=[0]), IMAGES, "Model") == (6, 5)
    with pytest.raises(ValueError, match="Model compares patches, but this backbone's map of inputs 12 x 10 is 1 x 1"):
        require_grid(single, IMAGES, "Model")


def test_only_images_in_classes_are_accepted() -> None:
    assert require_images(IMAGES, "Model") is IMAGES
    assert require_images(IMAGES.to_dict(), "Model") == IMAGES
    with pytest.raises(ValueError, match="Model classifies images into two or more classes; got 3 of modality 'table'"):
        require_images(ROWS, "Model")
    with pytest.raises(ValueError, match="got 1 of modality 'image' for a classification"):
        require_images(ImageDomain(classes=("only",), size=(8, 8)), "Model")
