"""Principal components of maps, against a singular value decomposition, and recipes that cannot have them."""

import pytest
import torch

from tests.small_models import IMAGES, RandomImages
from tests.toy import COLOURS, ToyData, fit
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes import PIPNet
from zoo.prototypes.layers.components import PrincipalComponents
from zoo.prototypes.layers.selection import survey
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [6], "pool": []}
TRAIN = {"name": "joint", "epochs": 1, "train": ["addon", "head"]}


def test_maps_become_the_principal_components_of_all_patches() -> None:
    data, backbone = RandomImages(10), create_backbone(TINY, 3).eval()
    components = PrincipalComponents(6, 4)
    with torch.no_grad():
        components.fit(survey(ProjectionSet(data, batch_size=4), backbone))
        maps = backbone(data.inputs).double()
        found = components(maps).double()
    patches = maps.flatten(2).mT.flatten(0, 1)
    centred = patches - patches.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:4]
    expected = (centred @ axes.T).unflatten(0, (10, -1)).mT.unflatten(2, maps.shape[2:])
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=5e-3, atol=5e-3)  # up to their signs


def test_the_recipe_sets_them_before_it_trains() -> None:
    model = PIPNet(
        IMAGES, TINY, prototypes=3, components=2, tail=0, recipe={"stages": [{"name": "fit_components"}, TRAIN]}
    )
    assert model.components is not None and not model.components.basis.any()
    model.fit_components(ProjectionSet(RandomImages(8)))
    basis = model.components.basis.float()
    torch.testing.assert_close(basis.T @ basis, torch.eye(2), rtol=0, atol=2e-3)
    assert model.addon.weight.shape == (3, 2, 1, 1) and "components" not in model.groups()  # pyright: ignore


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"components": 2, "recipe": {"stages": [TRAIN]}}, r"let its recipe begin with \{name: fit_components\}"),
        (
            {"components": 2, "recipe": {"stages": [{"name": "fit_components"}, {**TRAIN, "train": ["backbone"]}]}},
            "components of PIPNet are those of a frozen backbone, but joint trains it",
        ),
        ({"recipe": {"stages": [{"name": "fit_components"}, TRAIN]}}, "set components of PIPNet too"),
        ({"components": 7}, "components must be 1 to 6, the channels of this backbone; got 7"),
        ({"components": 0}, "components must be 1 to 6"),
        ({"components": 2, "prototypes": None}, "components needs prototypes"),
    ],
)
def test_what_cannot_be(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(PIPNet(**{"domain": COLOURS, "backbone": TINY, "prototypes": 3, "tail": 0, **arguments}), ToyData())
