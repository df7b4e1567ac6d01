"""CBM: how it learns is what its name says; interventions and counterfactuals are exact."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.small_models import ROWS, cbm
from tests.toy import fit
from zoo.concepts import CBM
from zoo.concepts.layers.groups import labelled
from zoo.concepts.layers.losses import concept_loss, imbalance, probabilities
from zoo.data import ConceptToy
from zoo.domain import TableDomain

DATA = ConceptToy("dot", count=400, batch_size=64)
TWO = [
    {"name": "concepts", "epochs": 12, "train": ["backbone", "concepts"]},
    {"name": "head", "epochs": 12, "train": ["head"]},
]


def toy_model(stages: list | None = None, **options: object) -> CBM:
    torch.manual_seed(0)
    stages = stages or [{"name": "all", "epochs": 1, "train": ["backbone", "concepts", "head"]}]
    backbone = {"name": "mlp", "widths": [16]}
    return CBM(DATA.domain, backbone=backbone, recipe={"lr": 0.01, "stages": stages}, **options)


def batch_of(model: CBM, rows: int = 6) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(3)
    concepts = torch.randint(0, 2, (rows, len(model.domain.concepts)), generator=draw).float()
    return {
        "input": torch.randn(rows, *model.domain.shape, generator=draw),
        "target": torch.arange(rows) % len(model.domain.classes),
        "concepts": concepts,
    }


@pytest.mark.parametrize(("training", "reaches"), [("joint", True), ("sequential", False), ("independent", False)])
def test_only_joint_training_lets_the_task_reach_the_concepts(training: str, reaches: bool) -> None:
    model = toy_model(training=training).train()
    batch = batch_of(model)
    model.losses(*model.step(batch["input"]), batch)["task"].backward()
    assert model.head.weight.grad is not None and model.head.weight.grad.abs().sum() > 0
    gradient = model.concepts.weight.grad
    assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reaches


def test_independent_head_learns_on_true_concepts_and_is_tested_on_predicted_ones() -> None:
    model = toy_model(training="independent")
    batch = batch_of(model)
    batch["concepts"][0, 1] = torch.nan  # there the prediction stands in
    scores, evidence = model.train().step(batch["input"])
    seen = batch["concepts"].where(batch["concepts"].isfinite(), evidence.activation)
    expected = F.cross_entropy(seen @ model.head.weight.T + model.head.bias, batch["target"])
    torch.testing.assert_close(model.losses(scores, evidence, batch)["task"], expected)
    scores, evidence = model.eval().step(batch["input"])
    expected = F.cross_entropy(evidence.activation @ model.head.weight.T + model.head.bias, batch["target"])
    torch.testing.assert_close(model.losses(scores, evidence, batch)["task"], expected)


def test_learns_the_concepts_and_no_more_than_they_tell() -> None:
    model = toy_model(training="sequential", stages=TWO)
    trainer = fit(model, DATA)
    trainer.test(model, datamodule=DATA, verbose=False)
    measured = trainer.callback_metrics
    assert measured["test/concept_accuracy"] > 0.93 and measured["test/concept_auc"] > 0.97
    assert measured["test/accuracy"] < 0.8


def test_calibrate_takes_percentiles_of_the_training_logits() -> None:
    stages = [*TWO[:1], {"name": "calibrate"}, *TWO[1:]]
    model = toy_model(training="sequential", bottleneck="logit", stages=stages)
    fit(model, DATA)
    inputs = torch.stack([item["input"] for item in DATA.projection_dataset()])
    with torch.no_grad():
        logits = model.concepts(model.backbone(inputs)).sort(0).values
    low, high = (logits[round(share * (len(logits) - 1))] for share in (0.05, 0.95))
    torch.testing.assert_close(model.percentiles, torch.stack([low, high]))
    torch.testing.assert_close(model.concept_values(torch.tensor([[0.0, 1.0]])), torch.stack([low[0], high[1]])[None])


def test_hard_bottleneck_is_binary_and_still_passes_a_gradient() -> None:
    small = cbm(bottleneck="hard")
    assert set(small.model.explain(small.inputs).activation.unique().tolist()) <= {0.0, 1.0}
    scores, _ = small.model.train().step(small.inputs)
    scores.sum().backward()
    assert small.model.concepts.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{}, {"bottleneck": "logit"}, {"bottleneck": "hard"}, {"hidden": [4]}])
def test_absent_and_present_are_the_scores_of_a_real_intervention(options: dict) -> None:
    small = cbm(**options)
    model, explanation = small.model, small.model.explain(small.inputs)
    with torch.no_grad():
        evidence = model.step(small.inputs)[1]
        p = model.concept_probability(evidence)
        for k in range(5):
            others = [j for j in (2, 3, 4) if k > 1 and j != k]  # of the colours one is present
            for key, truth in (("absent", 0), ("present", 1)):
                labels = torch.zeros_like(p)
                labels[:, k] = truth
                for j in others:
                    total = sum(p[:, i].clamp_min(1e-6) for i in others)
                    labels[:, j] = (1 - truth) * p[:, j].clamp_min(1e-6) / total
                values = model.concept_values(labels)
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


def test_a_group_of_which_a_label_is_missing_is_left_as_it_is() -> None:
    labels = torch.tensor([[1.0, torch.nan, 1.0, torch.nan, 0.0], [torch.nan, 0.0, 0.0, 1.0, 0.0]])
    assert labelled(labels, [[2, 3, 4]]).tolist() == [
        [True, False, False, False, False],
        [False, True, True, True, True],
    ]
    assert torch.equal(labelled(labels, []), labels.isfinite())


def test_concepts_of_an_exclusive_group_share_one_softmax() -> None:
    model = cbm().model
    shares = model.explain(torch.randn(4, 3)).details["probability"]
    torch.testing.assert_close(shares[:, 2:].sum(1), torch.ones(4))
    assert not torch.allclose(shares[:, :2].sum(1), torch.ones(4))


def test_units_say_who_annotated_them() -> None:
    units = cbm().model.units()
    assert units[0].source == {"supervision": "annotated"}
    assert units[2].source == {"supervision": "annotated", "group": "colour"}


def test_weights_come_from_the_training_labels() -> None:
    model = toy_model(weighting="pos_weight")
    fit(model, DATA)
    labels = DATA.concept_labels()
    expected = (labels == 0).sum(0) / (labels == 1).sum(0)
    torch.testing.assert_close(model.concept_weights, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bottleneck": "soft"}, "bottleneck must be one of sigmoid, logit, hard; got 'soft'"),
        ({"training": "jont"}, "training must be one of joint, sequential, independent; got 'jont'"),
        ({"weighting": "balanced"}, "weighting must be one of none, weight, pos_weight; got 'balanced'"),
        ({"backbone": "resnet18"}, "the backbone of a table is 'mlp' or 'identity'; got 'resnet18'"),
        ({"domain": TableDomain(classes=("a", "b"), features=("x",))}, "CBM learns annotated concepts, and this data"),
    ],
)
def test_choice_that_does_not_exist(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("cbm", **{"domain": ROWS, "backbone": "mlp", **change})


def test_concept_loss_by_hand() -> None:
    logits, nan = torch.tensor([[0.3, -1.2], [2.0, 0.5]]), torch.nan
    labels = torch.tensor([[1.0, 0.0], [nan, 1.0]])
    p = logits.sigmoid()
    terms = [-p[0, 0].log(), -(1 - p[0, 1]).log(), -p[1, 1].log()]
    torch.testing.assert_close(concept_loss(logits, labels), sum(terms) / 3)
    weights = torch.tensor([2.0, 5.0])
    both = 2 * terms[0] + 5 * terms[1] + 5 * terms[2]
    torch.testing.assert_close(concept_loss(logits, labels, weighting="weight", weights=weights), both / 3)
    only_present = 2 * terms[0] + terms[1] + 5 * terms[2]
    torch.testing.assert_close(concept_loss(logits, labels, weighting="pos_weight", weights=weights), only_present / 3)


def test_exclusive_group_costs_one_cross_entropy() -> None:
    logits = torch.randn(4, 5)
    labels = torch.cat([torch.randint(0, 2, (4, 2)).float(), torch.eye(3)[[0, 2, 1, 1]]], 1)
    labels[3, 2] = torch.nan  # one unknown, so the group of this row does not count
    found = concept_loss(logits, labels, exclusive=[[2, 3, 4]])
    binary = F.binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2], reduction="sum")
    groups = F.cross_entropy(logits[:3, 2:], torch.tensor([0, 2, 1]), reduction="sum")
    torch.testing.assert_close(found, (binary + groups) / (8 + 9))
    torch.testing.assert_close(probabilities(logits, [[2, 3, 4]])[:, 2:], logits[:, 2:].softmax(1))


def test_loss_of_nothing_is_zero_with_a_gradient_of_zero() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = concept_loss(logits, torch.full((3, 2), torch.nan))
    loss.backward()
    assert loss == 0 and bool((logits.grad == 0).all())


def test_imbalance_is_absent_over_present() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 0, 1], [torch.nan, 0, 1]])
    assert imbalance(labels).tolist() == [2.0, 1.0, 1.0]


def test_intervening_on_nothing_and_with_the_same_value_changes_nothing() -> None:
    small = cbm()
    with torch.no_grad():
        scores, evidence = small.model.step(small.inputs)
    none = torch.zeros_like(evidence.activation, dtype=torch.bool)
    assert torch.equal(small.model.readout(small.model.intervene(evidence, none, 1 - evidence.activation)), scores)
    assert torch.equal(small.model.readout(small.model.intervene(evidence, ~none, evidence.activation)), scores)


def test_regression_is_told_by_its_space() -> None:
    domain = replace(ROWS, task="regression")
    model = zoo.create_model("cbm", domain=domain, backbone={"name": "mlp", "widths": [4]}).eval()
    explanation = model.explain(torch.randn(2, 3)).check()
    assert explanation.space == "value" and explanation.probability is None
