"""CBM: what each kind of training learns from, and its bottlenecks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.small_models import ROWS, cbm
from tests.toy import fit
from zoo.concepts import CBM
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


@pytest.mark.parametrize("bottleneck", ["sigmoid", "logit", "hard"])
def test_scores_by_hand(bottleneck: str) -> None:
    small = cbm(bottleneck=bottleneck)
    model = small.model
    logits = model.backbone(small.inputs) @ model.concepts.weight.T + model.concepts.bias
    p = torch.cat([logits[:, :2].sigmoid(), logits[:, 2:].softmax(1)], 1)  # two binary concepts and the colours
    v = {"sigmoid": p, "logit": logits, "hard": (p > 0.5).float()}[bottleneck]
    explanation = model.explain(small.inputs, 2, reference="zero").check()
    torch.testing.assert_close(explanation.scores, v @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(explanation.contributions, v * model.head.weight[2])
    torch.testing.assert_close(explanation.details["probability"], p)


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
    stages = [{**TWO[0], "epochs": 1}, {"name": "calibrate"}, {**TWO[1], "epochs": 1}]
    model = toy_model(training="sequential", bottleneck="logit", stages=stages)
    fit(model, DATA)
    inputs = torch.stack([item["input"] for item in DATA.projection_dataset()])
    with torch.no_grad():
        logits = model.concepts(model.backbone(inputs)).sort(0).values
    low, high = (logits[round(share * (len(logits) - 1))] for share in (0.05, 0.95))
    torch.testing.assert_close(model.annotated.percentiles, torch.stack([low, high]))
    torch.testing.assert_close(model.annotated.values(torch.tensor([[0.0, 1.0]])), torch.stack([low[0], high[1]])[None])


def test_hard_bottleneck_is_binary_and_still_passes_a_gradient() -> None:
    small = cbm(bottleneck="hard")
    assert set(small.model.explain(small.inputs).activation.unique().tolist()) <= {0.0, 1.0}
    scores, _ = small.model.train().step(small.inputs)
    scores.sum().backward()
    assert small.model.concepts.weight.grad.abs().sum() > 0


def test_weights_come_from_the_training_labels() -> None:
    model = toy_model(weighting="pos_weight")
    fit(model, DATA)
    labels = DATA.concept_labels()
    expected = (labels == 0).sum(0) / (labels == 1).sum(0)
    torch.testing.assert_close(model.concept_loss.weights, expected)


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
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("cbm", **{"domain": ROWS, "backbone": "mlp", **change})


def test_regression_is_told_by_its_space() -> None:
    domain = replace(ROWS, task="regression")
    model = zoo.create_model("cbm", domain=domain, backbone={"name": "mlp", "widths": [4]}).eval()
    explanation = model.explain(torch.randn(2, 3)).check()
    assert explanation.space == "value" and explanation.probability is None
