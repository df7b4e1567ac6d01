"""Two views of an image: one geometry, two lights."""

import pytest
import torch
from torch import Tensor

from zoo.data import Digits
from zoo.data.base.augment import PIPELINES, pipeline
from zoo.data.base.images import Pictures
from zoo.domain import ImageDomain

SQUARE = ImageDomain(classes=("a", "b"), size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)


def corner(count: int = 24) -> Pictures:
    """Dark pictures with a bright square off the centre."""
    sources = torch.full((count, 3, 80, 80), 40, dtype=torch.uint8)
    sources[:, :, 20:34, 44:58] = 200
    pictures = Pictures(sources, torch.arange(count) % 2, SQUARE, [str(i) for i in range(count)], augment="pipnet")
    pictures.views = 2
    return pictures


def centre(x: Tensor) -> Tensor:
    """Row and column of the middle of what is bright."""
    grey = x.mean(0)
    bright = grey > (grey.max() + grey.min()) / 2
    return torch.stack([places.float().mean() for places in bright.nonzero(as_tuple=True)])


def test_two_views_share_their_geometry_and_differ_in_light() -> None:
    items = [corner()[i] for i in range(24)]
    moved = torch.stack([centre(item["input"]) - centre(item["view"]) for item in items])
    assert moved.abs().max() <= 5.5  # the shift of up to 4 pixels that each view draws, and rounding
    assert sum(not torch.equal(item["input"], item["view"]) for item in items) > 12
    places = torch.stack([centre(item["input"]) for item in items])
    assert places.std(0).min() > 2  # whereas the geometry of the pictures differs by more
    assert all(item["view"].shape == (3, 64, 64) == item["input"].shape for item in items)


def test_only_training_batches_have_a_second_view() -> None:
    data = Digits(augment="pipnet", views=2, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    assert batch["view"].shape == batch["input"].shape == (8, 1, 8, 8) and not batch["view"].equal(batch["input"])
    others = (data.projection_dataset(), data.val_dataset(), data.test_dataset())
    assert all("view" not in dataset[0] for dataset in others)
    assert "view" not in next(iter(Digits(augment="pipnet", batch_size=8).train_dataloader()))


@pytest.mark.parametrize("name", [name for name in PIPELINES if name not in ("pipnet", "mirror", "noise")])
def test_an_augmentation_of_geometry_alone_gives_no_two_views(name: str) -> None:
    message = rf"augment '{name}' changes nothing else, .*; use augment 'pipnet' or 'mirror', or views 1"
    with pytest.raises(ValueError, match=message):
        Digits(augment=name, views=2)
    one, two = pipeline(name, (8, 8)).views(torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8), 2)
    assert torch.equal(one, two)


def test_the_second_view_is_the_mirror_image_of_the_first() -> None:
    data = Digits(augment="mirror", views=2, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch["view"], batch["input"].flip(-1)) and batch["mirrored"].tolist() == [True] * 8
    assert "mirrored" not in next(iter(Digits(augment="mirror", batch_size=8).train_dataloader()))


def test_the_second_view_is_the_mirror_image_with_noise() -> None:
    sources = torch.full((8, 3, 96, 80), 128, dtype=torch.uint8)
    sources[:, :, :, :40] = 100
    pictures = Pictures(sources, torch.arange(8) % 2, SQUARE, [str(i) for i in range(8)], augment="noise")
    pictures.views = 2
    items = [pictures[i] for i in range(8)]
    clean, noisy = (torch.stack([item[key] for item in items]) for key in ("input", "view"))
    added = noisy - clean.flip(-1)
    assert all(item["mirrored"] for item in items) and clean.shape == noisy.shape == (8, 3, 64, 64)
    assert float(added.std()) == pytest.approx(0.045 / 0.5, rel=0.02)  # after resizing, of normalised pixels
    assert float(added.mean()) == pytest.approx(0, abs=2e-3) and not added[0].equal(added[1])
    left = clean[:, 0, 0, 0] < clean[:, 0, 0, -1]
    assert left.any() and not left.all()  # also a flip with probability 1/2
    pictures.views = 1
    assert len(pictures[0]["input"].unique()) < 60  # a single view has no noise


@pytest.mark.parametrize("views", [0, 3])
def test_another_number_of_views_is_refused(views: int) -> None:
    with pytest.raises(ValueError, match=f"views must be 1 or 2; got {views}"):
        Digits(augment="pipnet", views=views)
