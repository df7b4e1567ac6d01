"""Which training images stand for a class."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import RandomImages
from zoo.prototypes.layers.selection import EMPTY, choose, medoids, survey
from zoo.training.projection_set import ProjectionSet

CLASSES = ("circle", "square", "star")


def cost_of(vectors: Tensor, chosen: Tensor) -> float:
    return torch.cdist(vectors, vectors[chosen]).amin(1).sum().item()


def test_medoids_are_one_of_each_cluster_and_its_middle() -> None:
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    around = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    vectors = (centres[:, None] + around).flatten(0, 1)
    order = torch.randperm(12)
    assert sorted(order[medoids(vectors[order], 3)].tolist()) == [0, 4, 8]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_medoids_are_distinct_and_cost_less_than_chance(count: int) -> None:
    vectors = torch.randn(40, 5)
    found = medoids(vectors, count)
    assert len(set(found.tolist())) == count
    by_chance = [cost_of(vectors, torch.randperm(40)[:count]) for _ in range(50)]
    best = min(by_chance) + 1e-4 if count == 1 else sum(by_chance) / 50
    assert cost_of(vectors, found) < best


def test_copies_of_one_image_are_no_trouble() -> None:
    assert len(set(medoids(torch.ones(6, 3), 4).tolist())) == 4


def test_classes_keep_what_they_have_or_the_nearest_to_their_mean() -> None:
    pooled, target = torch.randn(9, 4), torch.tensor([0, 1, 1, 2, 1, 1, 0, 1, 2])
    rows = choose(pooled, target, CLASSES, 3, "nearest")
    assert rows[0].tolist() == [0, 6, EMPTY] and rows[2].tolist() == [3, 8, EMPTY]
    own = [1, 2, 4, 5, 7]
    unit = F.normalize(pooled, dim=1)
    near = sorted(own, key=lambda i: -float(unit[i] @ unit[own].mean(0)))[:3]
    assert rows[1].tolist() == sorted(near)


def test_classes_without_an_image_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"2 of 3 classes have no training image .*: 'circle' \(0\), 'star' \(2\)\. Add"
    ):
        choose(torch.randn(2, 4), torch.tensor([1, 1]), CLASSES, 3, "medoids")


def test_survey_has_the_moments_of_all_patches() -> None:
    maps = torch.randn(9, 5, 2, 3) + 3
    data = RandomImages()
    found = survey(ProjectionSet(data, batch_size=4), lambda x: torch.stack([_map_of(maps, data, row) for row in x]))
    patches = maps.flatten(2).mT
    torch.testing.assert_close(found.pooled, maps.mean((2, 3)))
    torch.testing.assert_close(found.cells, patches.mean(0))
    expected = torch.cov(patches.flatten(0, 1).double().T, correction=0)
    torch.testing.assert_close(found.covariance, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.target, data.targets)


def _map_of(maps: Tensor, data: RandomImages, row: Tensor) -> Tensor:
    return maps[int((data.inputs - row).flatten(1).abs().sum(1).argmin())]
