"""Concepts on a frozen backbone: projection, hyperplanes, sparse heads, the residual, and the random control."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from tests.small_models import CONCEPTS, ROWS, AnnotatedRows, labelfree, posthoc, rows_of_table
from tests.toy import fit
from zoo.concepts import LabelFreeCBM, PostHocCBM, save_scores, score_concepts
from zoo.concepts.layers.projected import cubed_cosine, fit_projection, read_scores
from zoo.concepts.posthoc import hyperplane
from zoo.data import ConceptToy
from zoo.domain import TableDomain
from zoo.training.projection_set import ProjectionSet

DATA = ConceptToy("trig", count=600, batch_size=64)


def test_cubed_cosine_by_hand() -> None:
    q, p = torch.randn(7, 3), torch.randn(7, 3)
    for j in range(3):
        a, b = ((t[:, j] - t[:, j].mean()) ** 3 for t in (q, p))
        assert cubed_cosine(q, p)[j].item() == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-5)


def test_projection_finds_directions_that_are_there() -> None:
    features = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(2))
    weight, similarity = fit_projection(features, torch.cat([features @ truth.T, noise], 1), lr=0.01)
    assert (torch.cosine_similarity(weight[:3], truth) > 0.97).all()
    assert (similarity[:3] > 0.9).all() and similarity[3] < 0.45


def test_projection_stops_when_held_out_items_follow_less() -> None:
    seen: list[tuple[int, float]] = []
    draw = torch.Generator().manual_seed(0)
    features, scores = torch.randn(40, 30, generator=draw), torch.randn(40, 4, generator=draw)  # nothing to learn
    fit_projection(features, scores, lr=0.05, every=5, report=lambda step, value: seen.append((step, value)))
    values = [value for _, value in seen]
    assert len(seen) < 200 and values[-1] < max(values) and values[:-1] == sorted(values[:-1])


def test_hyperplane_separates_and_is_of_unit_length() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(80, 5, generator=draw)
    normal = torch.tensor([1.0, -1, 0, 0, 0])
    labels = ((x @ normal) > 0.3).float()
    vector, offset, accuracy = hyperplane(x, labels)
    assert vector.norm().item() == pytest.approx(1, abs=1e-5) and accuracy > 0.8
    assert (((x @ vector + offset) > 0) == labels.bool()).float().mean() > 0.9
    assert torch.cosine_similarity(vector, normal, 0) > 0.9


def test_whole_recipe_runs_as_training() -> None:
    model = LabelFreeCBM(
        DATA.domain, "annotations", backbone={"name": "mlp", "widths": [32]}, min_similarity=0.1, lam=1e-3
    )
    before = model.backbone.state_dict()["layers.0.weight"].clone()
    trainer = fit(model, DATA)
    trainer.test(model, datamodule=DATA, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.7 and trainer.current_epoch == 1
    assert torch.equal(model.backbone.state_dict()["layers.0.weight"], before)
    z = model.standardised(model.backbone(torch.stack([item["input"] for item in DATA.projection_dataset()])))
    torch.testing.assert_close(z.mean(0)[model.alive], torch.zeros(int(model.alive.sum())), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0)[model.alive], torch.ones(int(model.alive.sum())), rtol=0, atol=1e-4)


def test_posthoc_recipe_and_its_residual() -> None:
    stages = [{"name": "learn_bank"}, {"name": "sparsify"}, {"name": "residual", "epochs": 15, "train": ["residual"]}]
    accuracy = {}
    for residual in (False, True):
        torch.manual_seed(0)
        options = {"residual": True, "recipe": {"stages": stages}} if residual else {}
        model = PostHocCBM(DATA.domain, backbone={"name": "mlp", "widths": [32]}, lam=1e-3, **options)
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


def test_margins_are_distances() -> None:
    model = posthoc().model
    torch.testing.assert_close(model.concepts.weight.norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("make", [labelfree, posthoc])
def test_random_control_runs_and_says_so(make) -> None:
    small = make(**({"scores": "random"} if make is labelfree else {"bank": "random"}))
    assert {unit.source["supervision"] for unit in small.model.units()} == {"random control"}
    assert not torch.equal(small.model.concepts.weight, make().model.concepts.weight)
    small.model.explain(small.inputs).check()


def test_dropped_concepts_are_silent_and_listed() -> None:
    model = labelfree(min_similarity=0.5).model
    model.project(ProjectionSet(AnnotatedRows()))
    dropped = [unit for unit in model.units() if unit.source.get("dropped")]
    assert 0 < len(dropped) < 5
    explanation = model.explain(rows_of_table())
    for unit in dropped:
        assert (explanation.activation[:, model.unit_index(unit.name)] == 0).all()
        assert unit.source["similarity"] <= 0.5


def test_no_concept_left_tells_how_far_off() -> None:
    with pytest.raises(
        ValueError, match=r"no concept is left of 5: the highest similarity is .* \(min_similarity 1.0\)"
    ):
        labelfree(min_similarity=1.0)


def test_scores_are_found_by_the_names_of_the_items(tmp_path: Path) -> None:
    data = AnnotatedRows()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "scores.safetensors"
    shuffled = [data.name(int(i)) for i in order]
    save_scores(path, data.concepts[order][:, [1, 0]], ["large", "round"], shuffled)
    model = zoo.create_model("labelfree", domain=ROWS, scores=str(path), concepts=["round", "large"], backbone="mlp")
    _, wanted = model._features_and_scores(ProjectionSet(data))
    assert torch.equal(wanted, data.concepts[:, :2])
    named = zoo.create_model("labelfree", domain=ROWS, scores=str(path), backbone="mlp")
    assert named.names == ["large", "round"] and named.hparams["concepts"] == ["large", "round"]
    save_scores(path, data.concepts[1:, :2], ["round", "large"], [data.name(i) for i in range(1, 60)])
    with pytest.raises(ValueError, match=r"has no scores for 1 of 60 training items \(first: row 0\)"):
        model._features_and_scores(ProjectionSet(data))
    with pytest.raises(ValueError, match="has no scores of the concepts huge"):
        zoo.create_model(
            "labelfree", domain=ROWS, scores=str(path), concepts=["huge"], backbone="mlp"
        )._features_and_scores(ProjectionSet(data))


def test_any_encoder_of_images_and_texts_scores_concepts() -> None:
    class Encoder:
        def encode_images(self, x: Tensor) -> Tensor:
            return x[:, :2]

        def encode_texts(self, texts: list[str]) -> Tensor:
            return torch.eye(2)[[len(text) % 2 for text in texts]]

    scores = score_concepts(ProjectionSet(AnnotatedRows(), batch_size=7), Encoder(), ["ab", "abc", "a"])
    inputs = AnnotatedRows().inputs
    assert torch.equal(scores, inputs[:, [0, 1, 1]])


def test_file_that_holds_no_scores(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no concept scores at .*; write them with `train.py score-concepts`"):
        read_scores(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not this")
    with pytest.raises(ValueError, match="is no intact safetensors file"):
        read_scores(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"scores must be \(items, concepts\) = \(1, 2\); got \(3, 2\)"):
        save_scores(tmp_path / "x.safetensors", torch.zeros(3, 2), ["a", "b"], ["i"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("posthoc", {"examples": 1}, "examples must be at least 2, .*; got 1"),
        (
            "posthoc",
            {"domain": TableDomain(classes=("a", "b"), features=("x",))},
            "PostHocCBM needs names of concepts: give `concepts`, or data that has annotated ones",
        ),
        (
            "posthoc",
            {"domain": TableDomain(classes=("a",), concepts=("c",), features=("x",), task="regression")},
            "PostHocCBM classifies; the task of these data is 'regression'",
        ),
        (
            "labelfree",
            {"domain": TableDomain(classes=("a", "b"), features=("x",)), "scores": "random"},
            "LabelFreeCBM needs names of concepts",
        ),
    ],
)
def test_what_cannot_be(name: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model(name, **{"domain": ROWS, "backbone": "mlp", **change})


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
