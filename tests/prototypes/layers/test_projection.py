"""Projection against a search that looks at one image and one prototype at a time."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests.small_models import RandomImages, protopnet
from zoo.prototypes.layers.projection import Nearest, nearest_patches
from zoo.training.projection_set import ProjectionSet


class Maps(Dataset):
    """Feature maps (N, D, h, w) and classes that are given."""

    def __init__(self, maps: Tensor, targets: Tensor) -> None:
        self.maps, self.targets = maps, targets

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.maps[i], self.targets[i]


def identity(x: Tensor) -> Tensor:
    return x


def search(prototypes: Tensor, maps: Tensor, targets: Tensor) -> list[tuple[float, int, int]]:
    """(squared distance, image, cell) for each prototype, in float64."""
    found = []
    for label, vectors in enumerate(prototypes.double().numpy()):
        for vector in vectors:
            best = (np.inf, -1, -1)
            for i, one in enumerate(maps.double().numpy()):
                if targets[i] != label:
                    continue
                for cell, patch in enumerate(one.reshape(len(vector), -1).T):
                    distance = float(((patch - vector) ** 2).sum())
                    if distance < best[0]:
                        best = (distance, i, cell)
            found.append(best)
    return found


def assert_same(found: Nearest, prototypes: Tensor, maps: Tensor, targets: Tensor) -> None:
    distance, index, cell = zip(*search(prototypes, maps, targets), strict=True)
    assert found.index.tolist() == list(index)
    assert found.cell.tolist() == list(cell)
    torch.testing.assert_close(found.distance.double(), torch.tensor(distance).double(), rtol=1e-6, atol=1e-6)
    patches = maps.flatten(2)
    for j in range(len(index)):
        assert torch.equal(found.vector[j], patches[index[j], :, cell[j]])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 23, 64])
def test_equals_the_search(batch_size: int) -> None:
    prototypes, maps, targets = torch.rand(4, 3, 6), torch.rand(23, 6, 3, 2), torch.arange(23) % 4
    found = nearest_patches(prototypes, ProjectionSet(Maps(maps, targets), batch_size=batch_size), identity)
    assert_same(found, prototypes, maps, targets)


@given(
    seed=st.integers(0, 2**31),
    images=st.integers(3, 14),
    batch_size=st.integers(1, 6),
    per_class=st.integers(1, 3),
    levels=st.sampled_from([2, 3, 10]),
)
def test_equals_the_search_where_many_distances_tie(
    seed: int, images: int, batch_size: int, per_class: int, levels: int
) -> None:
    """Whole-numbered features tie exactly, within an image, across images and across batches."""
    draw = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, levels, (images, 3, 2, 2), generator=draw).float()
    prototypes = torch.randint(0, levels, (3, per_class, 3), generator=draw).float()
    targets = torch.cat([torch.arange(3), torch.randint(0, 3, (images - 3,), generator=draw)])
    found = nearest_patches(prototypes, ProjectionSet(Maps(maps, targets), batch_size=batch_size), identity)
    assert_same(found, prototypes, maps, targets)


@pytest.mark.parametrize("batch_size", [2, 3, 12])
def test_ties_go_to_the_lowest_image_and_then_the_lowest_cell(batch_size: int) -> None:
    maps, targets = torch.rand(1, 5, 3, 3).repeat(12, 1, 1, 1), torch.arange(12) % 2  # copies of one image
    maps[:, :, 2, 2] = maps[:, :, 0, 1]  # and a copied patch within it
    prototypes = maps[0, :, 0, 1].repeat(2, 1, 1) + 1e-3
    copies = nearest_patches(prototypes, ProjectionSet(Maps(maps, targets), batch_size=batch_size), identity)
    assert copies.index.tolist() == [0, 1] and copies.cell.tolist() == [1, 1]
    flat = Maps(torch.full((12, 5, 3, 3), 0.5), targets)
    constant = nearest_patches(torch.rand(2, 4, 5), ProjectionSet(flat, batch_size=batch_size), identity)
    assert constant.index.tolist() == [0] * 4 + [1] * 4 and constant.cell.tolist() == [0] * 8


@pytest.mark.parametrize("world", [2, 3])
def test_shards_merge_to_what_one_process_finds(world: int) -> None:
    """Duplicated images land on different ranks, so merging decides ties too, in whatever order ranks come."""
    maps, targets = torch.rand(24, 4, 2, 3), torch.arange(24) // 4 % 3  # every rank has every class
    maps[1], maps[7], maps[12] = maps[0], maps[6], maps[0]
    prototypes = torch.stack([maps[[0, 6]][:, :, 1, 1], torch.rand(2, 4), torch.rand(2, 4)])
    data = Maps(maps, targets)
    alone = nearest_patches(prototypes, ProjectionSet(data, batch_size=3), identity)
    ranks = [ProjectionSet(data, batch_size=3, rank=rank, world=world) for rank in range(world)]
    shares = [nearest_patches(prototypes, share, identity) for share in ranks]
    for order in (range(world), reversed(range(world))):
        merged = Nearest.start(prototypes.flatten(0, 1))
        for rank in order:
            merged = merged.nearer(shares[rank])
        for name in ("distance", "index", "cell", "vector"):
            assert torch.equal(getattr(merged, name), getattr(alone, name)), name


def test_class_without_images_is_named() -> None:
    data = Maps(torch.rand(6, 3, 2, 2), torch.tensor([0, 0, 2, 2, 0, 2]))
    with pytest.raises(ValueError, match=r"1 classes have no training image to take prototypes from: \[1\]"):
        nearest_patches(torch.rand(3, 2, 3), ProjectionSet(data), identity)


def test_pushed_prototypes_are_patches_of_their_sources() -> None:
    model, data = protopnet().model, RandomImages()
    vectors = model.prototypes.compared_vectors().unflatten(0, (3, 2))
    found = nearest_patches(vectors, ProjectionSet(data, batch_size=4), model.embed)
    assert found.distance.max() < 1e-9  # another batch size rounds the backbone differently
    source = model.prototypes.provenance
    for j, (i, cell) in enumerate(zip(source.index.tolist(), source.cell.tolist(), strict=True)):
        assert data.targets[i] == j // model.per_class
        with torch.no_grad():
            patch = model.embed(data.inputs[i : i + 1]).flatten(2)[0, :, cell]
            evidence = model.evidence(data.inputs[i : i + 1])
        torch.testing.assert_close(model.prototypes.vectors[j], patch, rtol=1e-5, atol=1e-6)
        assert evidence.state["distance"][0, j] < 1e-9
        assert evidence.activation[0, j].item() == pytest.approx(np.log(1e4), abs=1e-4)


class Counted:
    """Embeds, and after the last batch sums up the tensors that are alive."""

    def __init__(self, batches: int) -> None:
        self.left, self.alive = batches, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.left -= 1
        z = x.repeat(1, 32, 4, 4)
        if not self.left:
            storages = [t.untyped_storage() for t in gc.get_objects() if type(t) in (Tensor, nn.Parameter)]
            self.alive = sum({s.data_ptr(): s.nbytes() for s in storages}.values())
        return z


class Pixels(Dataset):
    """Images of one pixel, made when asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.full((1, 1, 1), i / self.count), i % 2


def test_memory_is_that_of_a_batch_whatever_the_size_of_the_data() -> None:
    """Features of the larger set are 4 MB; beyond a batch only the images' numbers, 8 bytes each, may be there."""
    alive = []
    for batches in (3, 250):
        embed = Counted(batches)
        nearest_patches(torch.rand(2, 3, 32), ProjectionSet(Pixels(8 * batches), batch_size=8), embed)
        assert embed.left == 0
        alive.append(embed.alive)
    assert alive[1] - alive[0] <= 8 * 8 * 247 + 1024


def test_shared_prototypes_search_the_images_of_their_users() -> None:
    draw = torch.Generator().manual_seed(3)
    prototypes = torch.rand(5, 6, generator=draw)
    images, model = RandomImages(), torch.nn.Conv2d(3, 6, 3, 2)
    users = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0]]).bool()  # the last has none: all images
    with torch.no_grad():
        found = nearest_patches(prototypes, ProjectionSet(images), model, users)
        patches = model(images.inputs).flatten(2).mT  # (N, HW, D)
    for j in range(5):
        owners = users[:, j].nonzero().flatten() if users[:, j].any() else torch.arange(3)
        rows = torch.isin(images.targets, owners).nonzero().flatten()
        distances = (patches[rows] - prototypes[j]).square().sum(2)
        image, cell = divmod(int(distances.argmin()), patches.shape[1])
        assert (int(found.index[j]), int(found.cell[j])) == (int(rows[image]), cell)
        torch.testing.assert_close(found.vector[j], patches[rows[image], cell])


def test_shared_prototypes_whose_users_have_no_image() -> None:
    users = torch.zeros(4, 2, dtype=torch.bool)
    users[3] = True
    with pytest.raises(ValueError, match="2 shared prototypes have users that have no training image"):
        nearest_patches(torch.rand(2, 6), ProjectionSet(RandomImages()), torch.nn.Conv2d(3, 6, 3), users)
