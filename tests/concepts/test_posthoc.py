"""Post-hoc CBM: margins, the residual, banks from annotations and scores, and the random control."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import CONCEPTS, ROWS, AnnotatedRows, posthoc, rows_of_table
from tests.toy import fit
from zoo.concepts import PostHocCBM, save_scores
from zoo.data import ConceptToy
from zoo.domain import TableDomain
from zoo.training.projection_set import ProjectionSet

DATA = ConceptToy("trig", count=600, batch_size=64)


def test_posthoc_recipe_and_its_residual() -> None:
    stages = [{"name": "learn_bank"}, {"name": "sparsify"}, {"name": "residual", "epochs": 15, "train": ["residual"]}]
    accuracy = {}
    for residual in (False, True):
        torch.manual_seed(0)
        options = {"residual": True, "recipe": {"stages": stages}} if residual else {}
        model = PostHocCBM(DATA.domain, backbone={"name": "mlp", "widths": [32]}, lam=1e-3, epochs=200, **options)
        trainer = fit(model, DATA)
        trainer.test(model, datamodule=DATA, verbose=False)
        accuracy[residual] = trainer.callback_metrics["test/accuracy"].item()
    assert accuracy[True] >= accuracy[False] > 0.7


def test_the_residual_is_a_unit_that_can_be_switched_off() -> None:
    small = posthoc(residual=True)
    model = small.model
    assert [unit.name for unit in model.units()] == [*CONCEPTS, "residual"]
    explanation = model.explain(small.inputs).check()
    features = model.backbone(small.inputs)
    expected = (features * model.residual.weight[explanation.target]).sum(1)
    torch.testing.assert_close(explanation.contributions[:, -1], expected)
    with torch.no_grad():
        evidence = model.step(small.inputs)[1]
        off = model.readout(model.edit(evidence, {"residual": 0.0}))
        torch.testing.assert_close(off, model.head(model.concepts(features)))
        slopes = model.slopes(evidence)
        torch.testing.assert_close(slopes[:, -1], model.readout(evidence) - off)


def test_scores_by_hand() -> None:
    small = posthoc()
    model, h = small.model, small.model.backbone(small.inputs)
    length = model.concepts.weight.norm(dim=1)
    torch.testing.assert_close(length, torch.ones(5))  # so that margins are distances
    margins = (h @ model.concepts.weight.T + model.concepts.bias) / length
    torch.testing.assert_close(model(small.inputs), margins @ model.head.weight.T + model.head.bias)
    residual = posthoc(residual=True).model
    h, margins = residual.backbone(small.inputs), residual.concepts(residual.backbone(small.inputs))
    expected = margins @ residual.head.weight.T + residual.head.bias + h @ residual.residual.weight.T
    torch.testing.assert_close(residual(small.inputs), expected)


def test_random_control_runs_and_says_so() -> None:
    small = posthoc(bank="random")
    assert {unit.source["supervision"] for unit in small.model.units()} == {"random control"}
    assert not torch.equal(small.model.concepts.weight, posthoc().model.concepts.weight)
    small.model.explain(small.inputs).check()


def test_a_bank_of_scores_takes_the_highest_for_present(tmp_path: Path) -> None:
    """Scores that follow one direction of the features give a hyperplane across it, without any annotation."""
    data = AnnotatedRows(200)
    unlabelled = TableDomain(classes=ROWS.classes, features=ROWS.features)
    path = tmp_path / "scores.safetensors"
    options = {"domain": unlabelled, "backbone": "identity", "examples": 40, "epochs": 5}
    save_scores(path, data.inputs[:, [1, 2]] / 9, ["tall", "bluish"], [data.name(i) for i in range(200)])
    model = zoo.create_model("posthoc", bank=str(path), **options).eval()
    model.learn_bank(ProjectionSet(data))
    assert [unit.name for unit in model.units()] == ["tall", "bluish"] and (model.accuracy > 0.9).all()
    for j, feature in enumerate((1, 2)):
        assert model.concepts.weight[j, feature] > 0.9
    model.sparsify(ProjectionSet(data))
    saved = zoo.save(model, tmp_path / "checkpoint")
    path.unlink()
    x = rows_of_table()
    assert torch.equal(zoo.load(saved).explain(x).scores, model.explain(x).scores)
    with pytest.raises(FileNotFoundError, match=r"bank must be 'annotations', 'random', or a file of .*; got 'text'"):
        zoo.create_model("posthoc", bank="text", **options)
    control = zoo.create_model("posthoc", bank="random", concepts=["tall", "bluish"], **options)
    control.learn_bank(ProjectionSet(data))
    assert len(control.units()) == 2


def test_some_of_the_annotated_concepts() -> None:
    options = {"domain": ROWS, "backbone": "identity"}
    whole, some = (zoo.create_model("posthoc", **options, **chosen) for chosen in ({}, {"concepts": ["large"]}))
    for model in (whole, some):
        model.learn_bank(ProjectionSet(AnnotatedRows()))
    assert torch.cosine_similarity(some.concepts.weight[0], whole.concepts.weight[1], 0) > 0.9
    with pytest.raises(ValueError, match="the data has no scores of the concepts larg; did you mean 'large'"):
        zoo.create_model("posthoc", **options, concepts=["larg"]).learn_bank(ProjectionSet(AnnotatedRows()))


def test_concept_with_too_few_examples_is_named() -> None:
    data = AnnotatedRows()
    data.concepts[:, 1] = 0
    data.concepts[:3, 1] = 1
    model = zoo.create_model("posthoc", domain=ROWS, backbone="mlp")
    with pytest.raises(ValueError, match="concept 'large' has 3 present and 57 absent training items; at least 4"):
        model.learn_bank(ProjectionSet(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": 1}, "examples must be at least 2; got 1"),
        (
            {"domain": TableDomain(classes=("a", "b"), features=("x",))},
            "needs names of concepts: give `concepts`, or data",
        ),
        (
            {"domain": replace(ROWS, task="regression")},
            "PostHocCBM is a classifier; the task of these data is 'regression'",
        ),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("posthoc", **{"domain": ROWS, "backbone": "mlp", **change})
