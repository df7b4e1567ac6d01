"""What an explanation tells of a concept's absence and presence is what the scores would be, of the target alone."""

import pytest
import torch

import zoo
from zoo.domain import ImageDomain

COLOURS = ("red", "blue", "grey")
DOMAIN = ImageDomain(
    classes=("a", "b", "c", "d"),
    concepts=(*COLOURS, "tail"),
    concept_groups={"colour": COLOURS, "rest": ("tail",)},
    exclusive=("colour",),
    size=(8, 8),
)


@pytest.mark.parametrize(
    ("name", "options"),
    [("cbm", {}), ("cbm", {"bottleneck": "logit"}), ("cbm", {"hidden": [5]}), ("cem", {}), ("intcem", {})],
)
def test_details_are_scores_of_the_target(name: str, options: dict) -> None:
    torch.manual_seed(0)
    backbone = {"name": "convnet", "widths": [4], "pool": [0]}
    model = zoo.create_model(name, domain=DOMAIN, backbone=backbone, **options).eval()
    target = torch.tensor([2, 0, 3])
    with torch.no_grad():
        evidence = model.evidence(torch.rand(3, 3, 8, 8))
        found, scores = model.details(evidence, target), model.scores_if(evidence)
    for row, c in enumerate(target.tolist()):
        for at, what in enumerate(("absent", "present")):
            torch.testing.assert_close(found[what][row], scores[row, at, :, c], rtol=1e-5, atol=1e-6)
