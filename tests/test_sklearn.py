"""The estimators keep scikit-learn's rules, and work where its own do.

Most tests use a linear model that an action of its recipe solves, so that a fit takes milliseconds.
"""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import Evidence, SelfInterpretable, Unit
from zoo.core import registry
from zoo.core.registry import register
from zoo.sklearn import ZooClassifier, ZooRegressor
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # columns that determine the target of random data
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "held-out rows and batches are drawn by row, not by weight",
}


class Solved(SelfInterpretable):
    """A linear model of the inputs; `solve` computes its weights."""

    default_recipe = Recipe(
        stages=(Stage("solve"), Stage("measure", epochs=1, train=())),
        lr=0.1,
        optimizer="adam",
        coefficients={"task": 1.0},
    )
    weighs_rows = True

    def __init__(self, domain: Any, penalty: float = 0.1, recipe: Recipe | None = None) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.penalty, self.head = penalty, nn.Linear(*self.domain.shape, len(self.domain.classes))
        self.space = "logit" if self.domain.task == "classification" else "value"

    def evidence(self, x: Tensor) -> Evidence:
        return Evidence(x)

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "feature") for name in self.domain.features)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Any) -> dict[str, Tensor]:
        return {"task": scores.square().mean()}

    @action
    def solve(self, projection_set: ProjectionSet) -> None:
        (batch,) = list(projection_set)
        x = F.pad(batch["input"], (0, 1), value=1.0)
        y, weight = batch["target"], batch.get("weight", torch.ones(len(x)))[:, None]
        if self.domain.task == "classification":
            y = 8 * F.one_hot(y, len(self.domain.classes)).float()
        solution = torch.linalg.solve(x.T @ (weight * x) + self.penalty * torch.eye(x.shape[1]), x.T @ (weight * y))
        self.head.weight.copy_(solution[:-1].T)
        self.head.bias.copy_(solution[-1])


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    """`Solved` is a model of the zoo only while these tests run."""
    register("solved", modality="table", paper="ridge regression")(Solved)
    yield
    for table in (registry._entries, registry._classes, registry._small):
        table.pop("solved")


OPTIONS: dict[str, Any] = {
    "model": "solved",
    "data_options": {"batch_size": 1000},
    "trainer_options": {"accelerator": "cpu"},
}


@parametrize_with_checks([ZooClassifier(**OPTIONS), ZooRegressor(**OPTIONS)], expected_failed_checks=lambda _: EXPECTED)
def test_the_rules_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def people(count: int = 120) -> dict[str, list[Any]]:
    """Columns of numbers, categories and missing cells; one is called as what `Table` reads splits from."""
    return {
        "age": [None if i % 11 == 0 else 20 + i % 50 for i in range(count)],
        "job": ["cook" if i % 3 else "clerk" for i in range(count)],
        "split": [f"group {i % 4}" for i in range(count)],
    }


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_data_frames(frame: Any) -> None:
    X, y = frame(people()), ["yes" if i % 3 else "no" for i in range(120)]
    classifier = ZooClassifier(**OPTIONS).fit(X, y)
    assert classifier.score(X, y) == 1 and classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.n_features_in_ == 3 and classifier.feature_names_in_.tolist() == ["age", "job", "split"]
    why = classifier.explain(X[:2], target="no").check()
    assert why.target_names == ["no", "no"] and "job = cook" in {unit.name for unit in why.units}
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(X[["job", "age", "split"]])
    with pytest.raises(ValueError, match="target must be one of 'no', 'yes'; got 1"):
        classifier.explain(X[:2], target=1)


def test_classes_keep_the_order_of_scikit_learn() -> None:
    """As texts, a table orders them as numbers."""
    X = np.repeat(np.eye(3), 20, 0)
    y = np.repeat(["9", "10", "100"], 20)
    classifier = ZooClassifier(**OPTIONS).fit(X, y)
    assert classifier.classes_.tolist() == ["10", "100", "9"] and classifier.model_.domain.classes == ("9", "10", "100")
    assert (classifier.predict(X) == y).all()
    chosen = classifier.predict_proba(X).argmax(1)
    assert (classifier.classes_[chosen] == y).all() and classifier.explain(X[:1], target="9").target_names == ["9"]
    for labels in (["a", " a"], ["a", ""]):
        with pytest.raises(ValueError, match="classes must differ as texts"):
            clone(classifier).fit(X, np.repeat(labels, 30))


def test_rows_of_weight_0_are_left_out() -> None:
    X, y = load_iris(return_X_y=True)
    weight = (y > 0).astype(float)
    classifier = ZooClassifier(**OPTIONS).fit(X, y, sample_weight=weight)
    expected = ZooClassifier(**OPTIONS).fit(X[y > 0], y[y > 0])
    assert classifier.classes_.tolist() == [1, 2]
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X))


def test_searches_and_pipelines() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    grid = {"zooclassifier__options": [{"penalty": 0.1}, {"penalty": 1e6}], "zooclassifier__epochs": [None, 1]}
    pipeline = make_pipeline(StandardScaler(), ZooClassifier(**OPTIONS))
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["zooclassifier__options"] == {"penalty": 0.1}
    assert cross_val_score(ZooClassifier(**OPTIONS), X, y, cv=2).min() > 0.7


def test_several_values_with_names() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(100, 3))
    y = pd.DataFrame({"price": X @ [1, 2, 3], "size": X @ [3, 2, 1]})
    regressor = ZooRegressor(**OPTIONS).fit(X, y)
    assert regressor.predict(X).shape == (100, 2) and regressor.score(X, y) > 0.99
    assert regressor.explain(X[:1], target="size").check().target_names == ["size"]
    scaled = TransformedTargetRegressor(ZooRegressor(**OPTIONS), transformer=StandardScaler())
    assert scaled.fit(X, 1000 * y["price"]).score(X, 1000 * y["price"]) > 0.99


IMAGES: dict[str, Any] = {
    "model": "protopnet",
    "options": {"backbone": {"name": "convnet", "widths": [4], "pool": [0]}, "prototypes_per_class": 2, "dim": 4},
    "epochs": 1,
    "trainer_options": {"accelerator": "cpu"},
}


def test_images_and_series() -> None:
    pixels, y = load_digits(n_class=2, return_X_y=True)
    grey = (pixels.reshape(-1, 1, 8, 8)[:40] * 15.9).astype(np.uint8)
    X = grey / 255
    classifier = ZooClassifier(**IMAGES).fit(X, y[:40])
    assert classifier.predict_proba(X).shape == (40, 2) and classifier.model_.domain.size == (8, 8)
    assert classifier.explain(X[:2]).check().units[0].picture is not None
    np.testing.assert_allclose(classifier.predict_proba(X), classifier.predict_proba(grey), 1e-4)
    assert clone(classifier).fit(grey, y[:40]).model_.domain.mean == pytest.approx(classifier.model_.domain.mean)
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]; got 0 to 15.9\d*"):
        clone(classifier).fit(16 * X, y[:40])
    with pytest.raises(ValueError, match=r"\(N, 1, 8, 8\); got \(40, 1, 8, 7\)"):
        classifier.predict(X[..., 1:])
    with pytest.raises(ValueError, match="sample_weight is possible for tables only"):
        clone(classifier).fit(X, y[:40], sample_weight=np.ones(40))
    options = {"backbone": {"name": "convnet1d", "widths": [4, 4], "kernels": [4, 3]}}
    series = ZooClassifier("senn", options, epochs=1, trainer_options={"accelerator": "cpu"}).fit(X[:, 0], y[:40])
    assert series.model_.domain.shape == (8, 8) and len(series.explain(X[:2, 0])) == 2


def test_models_of_the_zoo_and_their_copies() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    assert ZooClassifier(trainer_options={"accelerator": "cpu"}).fit(X, y).score(X, y) > 0.95
    classifier = ZooClassifier("nam", epochs=2, trainer_options={"accelerator": "cpu"})
    with pytest.raises(NotFittedError):
        classifier.explain(X)
    probabilities = classifier.fit(X, y).predict_proba(X)
    assert classifier.model_.max_epochs == 3  # with the one that measures
    copy = pickle.loads(pickle.dumps(classifier))
    assert (copy.predict_proba(X) == probabilities).all()
    assert (clone(classifier).fit(X, y).predict_proba(X) == probabilities).all()
    assert (clone(classifier).set_params(random_state=1).fit(X, y).predict_proba(X) != probabilities).any()


def test_cells_that_are_neither_numbers_nor_texts() -> None:
    X = np.array([[1, "a"], [2, "b"], [3, []]], dtype=object)
    with pytest.raises(TypeError, match="argument must be an array of strings or numbers; column x1"):
        ZooClassifier(**OPTIONS).fit(np.repeat(X, 5, 0), np.arange(15) % 2)
