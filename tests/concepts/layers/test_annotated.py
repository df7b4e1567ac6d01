"""Annotated concepts: units, and counterfactual scores, which are those of the edited evidence."""

import pytest
import torch

import zoo
from tests.small_models import cbm
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
        found, scores = model.details(evidence, target), model.annotated.counterfactual_scores(model, evidence)
    for row, c in enumerate(target.tolist()):
        for at, what in enumerate(("absent", "present")):
            own, key = scores[row, at, :, c], (row, at)
            torch.testing.assert_close(found[what][row], own, rtol=1e-5, atol=1e-6)
            if model.additive:  # else there are no contributions to a difference
                rival = int(model.readout(evidence)[row].index_fill(0, torch.tensor(c), -torch.inf).argmax())
                for name, base in {"mean": scores[key].mean(1), "runner-up": scores[key][:, rival]}.items():
                    torch.testing.assert_close(found[f"{what}, {name}"][row], own - base, rtol=1e-4, atol=1e-5)


def test_units_say_who_annotated_them() -> None:
    units = cbm().model.units()
    assert units[0].source == {"supervision": "annotated"}
    assert units[2].source == {"supervision": "annotated", "group": "colour"}


@pytest.mark.parametrize("options", [{}, {"bottleneck": "logit"}, {"bottleneck": "hard"}, {"hidden": [4]}])
def test_absent_and_present_are_the_scores_of_a_real_intervention(options: dict) -> None:
    small = cbm(**options)
    model, explanation = small.model, small.model.explain(small.inputs)
    with torch.no_grad():
        evidence = model.step(small.inputs)[1]
        p = model.annotated.probability(evidence)
        for k in range(5):
            others = [j for j in (2, 3, 4) if k > 1 and j != k]  # of the colours one is present
            for key, truth in (("absent", 0), ("present", 1)):
                labels = torch.zeros_like(p)
                labels[:, k] = truth
                for j in others:
                    total = sum(p[:, i].clamp_min(1e-6) for i in others)
                    labels[:, j] = (1 - truth) * p[:, j].clamp_min(1e-6) / total
                values = model.annotated.values(labels)
                scores = model.readout(model.edit(evidence, {j: values[:, j] for j in (k, *others)}))
                expected = scores.gather(1, explanation.target[:, None])[:, 0]
                torch.testing.assert_close(explanation.details[key][:, k], expected, rtol=1e-5, atol=1e-5)


def test_a_colour_that_is_present_excludes_the_others() -> None:
    """Regression: setting one of the group and leaving the others as they were describes nothing that can be."""
    small = cbm()
    model, explanation = small.model, small.model.explain(small.inputs, 1)
    evidence = model.step(small.inputs)[1]
    only_red = model.edit(evidence, {"red": 1.0, "green": 0.0, "blue": 0.0})
    torch.testing.assert_close(explanation.details["present"][:, 2], model.readout(only_red)[:, 1])


def test_concepts_of_an_exclusive_group_share_one_softmax() -> None:
    model = cbm().model
    shares = model.explain(torch.randn(4, 3)).details["probability"]
    torch.testing.assert_close(shares[:, 2:].sum(1), torch.ones(4))
    assert not torch.allclose(shares[:, :2].sum(1), torch.ones(4))


def test_intervening_on_nothing_and_with_the_same_value_changes_nothing() -> None:
    small = cbm()
    with torch.no_grad():
        scores, evidence = small.model.step(small.inputs)
    none = torch.zeros_like(evidence.activation, dtype=torch.bool)
    assert torch.equal(small.model.readout(small.model.intervene(evidence, none, 1 - evidence.activation)), scores)
    assert torch.equal(small.model.readout(small.model.intervene(evidence, ~none, evidence.activation)), scores)
