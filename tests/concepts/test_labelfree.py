"""Label-free CBM: its recipe, dropped concepts, scores by the names of items, and the random control."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import ROWS, AnnotatedRows, labelfree, rows_of_table
from tests.toy import fit
from zoo.concepts import LabelFreeCBM, save_scores
from zoo.data import ConceptToy
from zoo.domain import TableDomain
from zoo.training.projection_set import ProjectionSet

DATA = ConceptToy("trig", count=600, batch_size=64)


def test_whole_recipe_runs_as_training() -> None:
    model = LabelFreeCBM(
        DATA.domain, "annotations", backbone={"name": "mlp", "widths": [32]}, min_similarity=0.1, lam=1e-3, epochs=200
    )
    before = model.backbone.state_dict()["layers.0.weight"].clone()
    trainer = fit(model, DATA)
    trainer.test(model, datamodule=DATA, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.7 and trainer.current_epoch == 1
    assert torch.equal(model.backbone.state_dict()["layers.0.weight"], before)
    z = model.standardised(model.backbone(torch.stack([item["input"] for item in DATA.projection_dataset()])))
    torch.testing.assert_close(z.mean(0)[model.alive], torch.zeros(int(model.alive.sum())), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0)[model.alive], torch.ones(int(model.alive.sum())), rtol=0, atol=1e-4)


def test_scores_by_hand() -> None:
    small = labelfree()
    model, inputs = small.model, AnnotatedRows().inputs
    q = model.backbone(inputs) @ model.concepts.weight.T
    z = (model.backbone(small.inputs) @ model.concepts.weight.T - q.mean(0)) / q.std(0)
    explanation = model.explain(small.inputs, 0).check()
    torch.testing.assert_close(explanation.activation, z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(explanation.scores, z @ model.head.weight.T + model.head.bias, rtol=1e-4, atol=1e-4)


def test_random_control_runs_and_says_so() -> None:
    small = labelfree(scores="random")
    assert {unit.source["supervision"] for unit in small.model.units()} == {"random control"}
    assert not torch.equal(small.model.concepts.weight, labelfree().model.concepts.weight)
    small.model.explain(small.inputs).check()


def test_dropped_concepts_are_silent_and_listed() -> None:
    model = labelfree(min_similarity=0.5).model
    dropped = [unit for unit in model.units() if unit.source.get("dropped")]
    assert 0 < len(dropped) < 5
    explanation = model.explain(rows_of_table())
    for unit in dropped:
        assert (explanation.activation[:, model.unit_index(unit.name)] == 0).all()
        assert unit.source["similarity"] <= 0.5


def test_no_concept_left_tells_how_far_off() -> None:
    with pytest.raises(
        ValueError, match=r"all 5 concepts were dropped: the highest similarity is .* \(min_similarity 1.0\)"
    ):
        labelfree(min_similarity=1.0)


def test_scores_are_found_by_the_names_of_the_items(tmp_path: Path) -> None:
    data = AnnotatedRows()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "scores.safetensors"
    shuffled = [data.name(int(i)) for i in order]
    save_scores(path, data.concepts[order][:, [1, 0]], ["large", "round"], shuffled)
    model = zoo.create_model("labelfree", domain=ROWS, scores=str(path), concepts=["round", "large"], backbone="mlp")
    _, wanted = model.features_and_scores(ProjectionSet(data))
    assert torch.equal(wanted, data.concepts[:, :2])
    named = zoo.create_model("labelfree", domain=ROWS, scores=str(path), backbone="mlp")
    assert named.names == ["large", "round"] and named.hparams["concepts"] == ["large", "round"]
    save_scores(path, data.concepts[1:, :2], ["round", "large"], [data.name(i) for i in range(1, 60)])
    with pytest.raises(ValueError, match=r"has no scores for 1 of 60 training items \(first: row 0\)"):
        model.features_and_scores(ProjectionSet(data))
    with pytest.raises(ValueError, match="has no scores of the concepts huge"):
        zoo.create_model(
            "labelfree", domain=ROWS, scores=str(path), concepts=["huge"], backbone="mlp"
        ).features_and_scores(ProjectionSet(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": TableDomain(classes=("a", "b"), features=("x",))}, "LabelFreeCBM needs names of concepts"),
        ({"domain": replace(ROWS, task="regression")}, "LabelFreeCBM is a classifier; the task of these data is"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("labelfree", **{"domain": ROWS, "scores": "random", "backbone": "mlp", **change})
