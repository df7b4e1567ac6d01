"""The prototype layer alone: distances by direct differences, when it is pushed, and which recipes it refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.small_models import IMAGES, RandomImages
from zoo.prototypes.layers.prototype_layer import PrototypeLayer, create_addon, random_vectors
from zoo.prototypes.layers.similarity import COSINE, EXPONENTIAL, LOG, Similarity
from zoo.prototypes.prototree import ProtoTree
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage


def layer(similarity: Similarity = LOG, free: tuple[str, ...] = ("head",)) -> PrototypeLayer:
    torch.manual_seed(0)
    return PrototypeLayer(random_vectors(4, 3, similarity), similarity, channels=3, thumbnail=8, free=free)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("similarity", [LOG, COSINE, EXPONENTIAL])
def test_distances_are_those_of_direct_differences(similarity: Similarity, exact: bool) -> None:
    prototypes, maps = layer(similarity), torch.rand(2, 3, 5, 4)
    z, p = maps.double(), prototypes.vectors.detach().double()
    if similarity is COSINE:
        z, p = F.normalize(z, dim=1), F.normalize(p, dim=1)
    expected = (z[:, None] - p[None, :, :, None, None]).square().sum(2)
    with torch.no_grad():
        distances, nearest = prototypes.compare(prototypes.patches(maps), exact)
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(nearest.double(), expected.amin((2, 3)), rtol=1e-4, atol=1e-5)


def test_prototypes_that_are_not_alive_have_no_support() -> None:
    prototypes = layer()
    prototypes.remove([1, 2])
    support = prototypes.support(torch.rand(2, 4, 5, 4))
    assert support[:, [1, 2]].eq(0).all() and support[:, [0, 3]].gt(0).all()
    with pytest.raises(ValueError, match="all 2 remaining prototypes would be removed; keep at least one"):
        prototypes.remove([0, 1, 3])


def test_a_projection_makes_prototypes_patches_until_more_than_the_head_trains() -> None:
    prototypes, data = layer(), RandomImages()
    with pytest.raises(RuntimeError, match=r"a recipe that ends in push and a stage that trains head alone, or call"):
        prototypes.require_pushed()
    with torch.no_grad():
        prototypes.project(ProjectionSet(data), IMAGES, lambda x: x)
    prototypes.require_pushed()
    pixels = data.inputs.flatten(2).mT
    for j, unit in enumerate(prototypes.units(lambda j: (f"number {j}", None))):
        patch = pixels[unit.source["index"], unit.source["cell"]]
        assert unit.name == f"number {j}" and torch.equal(prototypes.vectors[j], patch)
    prototypes.on_stage_start(Stage("last", 1, ("head",)))
    assert prototypes.pushed
    prototypes.on_stage_start(Stage("joint", 1, ("head", "addon")))
    assert not prototypes.pushed


TRAIN, PUSH, HEAD, MEASURE = Stage("t", 1, ("addon",)), Stage("push"), Stage("h", 1, ("head",)), Stage("m", 1, ())


@pytest.mark.parametrize(
    ("free", "stages", "message"),
    [
        (("head",), [TRAIN, PUSH, HEAD], None),
        ((), [TRAIN, PUSH, MEASURE], None),
        ((), [TRAIN, PUSH, HEAD], r"last stage that trains anything, add \{name: push\} and \{name: measure"),
        (
            ("head",),
            [PUSH, TRAIN],
            r"its last stage that trains more than head, add .* and a stage that trains head alone",
        ),
        (("head",), [TRAIN, HEAD], r"at the end of this recipe"),
    ],
)
def test_recipes_must_push_after_training(free: tuple[str, ...], stages: list[Stage], message: str | None) -> None:
    if message is None:
        layer(free=free).check_recipe(stages)
        return
    with pytest.raises(ValueError, match=message):
        layer(free=free).check_recipe(stages)


def test_addons_start_from_the_published_spread() -> None:
    """They started from the default of a convolution, 2 to 5 times smaller."""
    first, second = (step.weight for step in create_addon(400, 100, LOG, layers=2) if isinstance(step, nn.Conv2d))
    assert first.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.05)  # 2 / number of outputs, for ReLU
    assert second.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.05)
    tree = ProtoTree(IMAGES, {"name": "convnet", "widths": [200], "pool": [0]}, depth=2, dim=100)
    assert tree.addon[0].weight.std().item() == pytest.approx((2 / (200 + 100)) ** 0.5, rel=0.05)
    assert not tree.addon[0].bias.any()


def test_addons_end_in_the_range_of_the_prototypes() -> None:
    x = 100 * torch.randn(2, 5, 3, 3)
    assert create_addon(5, 4, LOG, layers=2)(x).shape == (2, 4, 3, 3)
    assert len(create_addon(5, 4, LOG, layers=2)) == 4
    z = create_addon(5, 4, EXPONENTIAL)(x)
    assert z.min() >= 0 and z.max() <= 1
    assert create_addon(5, 4, COSINE)(x).abs().max() > 1


def test_prototypes_that_follow_have_the_gradient_of_both_sides() -> None:
    """The add-on learns through the patches of an image, and through the patches that the prototypes are."""
    torch.manual_seed(0)
    images = [{"input": torch.randn(3, 4, 4), "target": 0} for _ in range(3)]
    addon, small = create_addon(3, 3, EXPONENTIAL), layer(EXPONENTIAL)
    small.provenance.index.copy_(torch.tensor([2, 0, 1, 2]))
    small.provenance.cell.copy_(torch.tensor([5, 0, 15, 7]))
    small.pushed.fill_(True)
    stage = Stage("settle", epochs=1, train=("addon",))
    small.follow(stage, nn.Identity(), lambda: ProjectionSet(images))
    x = torch.randn(2, 3, 4, 4)
    _, nearest = small.compare(addon(x), True, small.moved(addon))
    found = torch.autograd.grad(nearest.sum(), addon[0].weight)[0]
    own = torch.stack([images[i]["input"].flatten(1)[:, c] for i, c in ((2, 5), (0, 0), (1, 15), (2, 7))])
    prototypes, cells = addon(own[:, :, None, None]).flatten(1), addon(x).flatten(2).mT
    expected = (cells[:, None] - prototypes[None, :, None]).square().sum(3).amin(2).sum()
    torch.testing.assert_close(found, torch.autograd.grad(expected, addon[0].weight)[0])
    small.keep(addon)
    torch.testing.assert_close(small.vectors.data, prototypes.detach())
    for trained in (("addon", "prototypes"), ("addon", "backbone"), ("head",)):
        small.follow(Stage("other", epochs=1, train=trained), nn.Identity(), lambda: ProjectionSet(images))
        assert small.moved(addon) is None
