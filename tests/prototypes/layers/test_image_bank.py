"""What a bank stores of training images."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import IMAGES, RandomImages
from zoo.networks.image_backbones import convnet
from zoo.prototypes.layers.image_bank import ImageBank
from zoo.prototypes.layers.reduction import Reduction
from zoo.prototypes.layers.selection import EMPTY, choose, survey
from zoo.training.projection_set import ProjectionSet

CLASSES = ("circle", "square", "star")


def filled(reduction: Reduction) -> tuple[ImageBank, Tensor]:
    """A bank of all nine images, and the maps that it was filled from."""
    backbone = convnet(3, widths=[8], pool=[0]).eval()
    data, bank = RandomImages(), ImageBank(IMAGES, 4, 8, (6, 5), reduction, 8)
    with torch.no_grad():
        found = survey(ProjectionSet(data), backbone)
        bank.fit_reduction(found)
        rows = choose(found.pooled, found.target, IMAGES.classes, 4, "medoids")
        list(bank.fill(rows, ProjectionSet(data), backbone, bank))
        return bank, backbone(data.inputs)


def test_a_bank_holds_images_class_by_class() -> None:
    bank, maps = filled(Reduction())
    order = [0, 3, 6, EMPTY, 1, 4, 7, EMPTY, 2, 5, 8, EMPTY]
    assert bank.provenance.index.tolist() == order and bank.owner.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for slot, i in enumerate(order):
        expected = maps[i].flatten(1).T if i != EMPTY else torch.zeros(30, 8)
        torch.testing.assert_close(bank.patches[slot].float(), expected, rtol=1e-3, atol=1e-3)
        unit = bank.units("exemplar")[slot]
        assert unit.source == ({"image": f"noise-{i}.png", "index": i} if i != EMPTY else {})
        assert (unit.picture is None) == (i == EMPTY) and unit.name == f"{CLASSES[slot // 4]} #{slot % 4 + 1}"
    picture = IMAGES.picture(RandomImages().inputs[3]).float()
    shrunk = F.interpolate(picture[None], (8, 8), mode="bilinear", antialias=True)[0]
    assert (bank.provenance.picture[1] - shrunk).abs().max() <= 1  # the whole image, up to rounding


def test_principal_components_keep_distances_and_whitening_makes_them_alike() -> None:
    bank, maps = filled(Reduction(dim=8))
    plain = maps.flatten(2).mT
    torch.testing.assert_close(torch.cdist(bank(maps), bank(maps)), torch.cdist(plain, plain), rtol=1e-3, atol=2e-3)
    bank, maps = filled(Reduction(dim=3, whiten=1.0))
    spread = bank(maps).flatten(0, 1).std(0, correction=0)
    torch.testing.assert_close(spread, spread[:1].expand(3), rtol=1e-2, atol=1e-3)


def test_features_beyond_half_precision_are_refused() -> None:
    bank, rows = ImageBank(IMAGES, 1, 3, (12, 10), Reduction(), 8), torch.tensor([[0], [1], [2]])
    with pytest.raises(ValueError, match=r"features of 'noise-0\.png' or of images after it exceed 65504"):
        list(bank.fill(rows, ProjectionSet(RandomImages()), lambda x: 1e6 * x, bank))


def test_thumbnails_have_pixels() -> None:
    with pytest.raises(ValueError, match="thumbnail must be at least 1; got 0"):
        ImageBank(IMAGES, 1, 8, (2, 2), Reduction(), 0)
