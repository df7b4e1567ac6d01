"""Estimators of scikit-learn: every model of the zoo in a pipeline, a grid search or a cross-validation.

from zoo.sklearn import ZooClassifier

classifier = ZooClassifier("ga2m").fit(X, y)
print(classifier.explain(X[:1]))
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch import Tensor

from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.registry import create_model
from zoo.data.base.arrays import ArrayData, frame_of_array, inputs_of
from zoo.data.base.frames import Frame, read_frame
from zoo.data.base.table_rows import encode_rows
from zoo.data.real.frame_table import frame_table
from zoo.domain import TableDomain
from zoo.training.fit import fit
from zoo.training.seeding import seeded
from zoo.training.stages import with_epochs

TOGETHER = 1024  # inputs that are predicted at a time


class _ZooEstimator(BaseEstimator):
    """What the classifier and the regressor share."""

    model_: SelfInterpretable

    def __init__(
        self,
        model: str = "ga2m",
        options: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        patience: int = 20,
        data_options: Mapping[str, Any] | None = None,
        trainer_options: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.options = options
        self.epochs = epochs
        self.patience = patience
        self.data_options = data_options
        self.trainer_options = trainer_options
        self.random_state = random_state
        self.verbose = verbose

    def explain(self, X: Any, target: Any = None, reference: str | None = None) -> Explanation:
        """The explanation of each prediction.

        Args:
            X: as in `fit`.
            target: the class (or of several values, the column) to explain, one for all rows; by default the predicted
                class, or the first value.
            reference: what contributions are relative to, see `SelfInterpretable.explain`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: X does not fit the model, or there is no such target.
        """
        x = self._inputs(X)
        return self.model_.explain(x, None if target is None else self._column(target), reference=reference)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

    def _column(self, target: Any) -> int:
        """The column of the scores that belongs to a target."""
        return self.model_.domain.class_index(target)

    def _rows(self, X: Any, y: "np.ndarray", sample_weight: Any) -> tuple[Any, "np.ndarray", "np.ndarray | None"]:
        """The rows of `fit`, see `_read`, with y and weights; without the rows of weight 0."""
        rows = self._read(X, reset=True)
        count = len(rows.cells) if isinstance(rows, Frame) else len(rows)
        check_consistent_length(np.empty(count), y)
        if count < 3:
            raise ValueError(f"n_samples={count}; three or more rows are needed.")
        if sample_weight is None:
            return rows, y, None
        if not isinstance(rows, Frame):
            raise ValueError("sample_weight is possible for tables only; leave it out.")
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(weight)
        cells, lines, files = rows.cells[kept], rows.lines[kept], rows.files[kept]
        return rows._replace(cells=cells, lines=lines, files=files), y[kept], weight[kept]

    def _train(self, rows: Any, targets: "np.ndarray", names: list[str], weight: "np.ndarray | None") -> None:
        """Trains the model.

        Args:
            rows: see `_read`.
            targets: (N,) classes, or (N, C) values.
            names: of the C classes or values.
            weight: (N,) of the rows.
        """
        seed = _seed(self.random_state)
        with seeded(seed):
            options = {"seed": seed, **(self.data_options or {})}
            if isinstance(rows, Frame):
                data = frame_table(rows, targets, names, weight, options)
            else:
                data = ArrayData(rows, torch.as_tensor(targets), names, **options)
            arguments = {"domain": data.domain, **(self.options or {})}
            model = create_model(self.model, **arguments)
            if self.epochs is not None:
                recipe = replace(model.recipe, stages=with_epochs(model.stages, self.epochs))
                model = create_model(self.model, **{**arguments, "recipe": recipe})
            trainer = {"progress": self.verbose, **(self.trainer_options or {})}
            fit(model, data, seed=seed, patience=self.patience, **trainer)
        self.model_ = model

    def _read(self, X: Any, reset: bool) -> "Frame | np.ndarray":
        """X as a table of texts, or as an array of images or series."""
        if type(X).__module__.partition(".")[0] in ("pandas", "polars") and hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            frame = read_frame(X)
        else:
            array: Any = validate_data(self, X, reset=reset, dtype=None, allow_nd=True, ensure_all_finite="allow-nan")
            if array.ndim > 2:
                assert_all_finite(array, input_name="X")
                return array
            frame = read_frame(frame_of_array(array, [f"x{i}" for i in range(array.shape[1])]))
        if reset:
            self._columns = frame.cells.columns
        return frame._replace(cells=frame.cells.rename(dict(zip(frame.cells.columns, self._columns, strict=True))))

    def _inputs(self, X: Any) -> Tensor:
        """X as the model reads it."""
        check_is_fitted(self, "model_")
        rows, domain = self._read(X, reset=False), self.model_.domain
        if not isinstance(rows, Frame):
            return inputs_of(domain, rows)
        if not isinstance(domain, TableDomain):
            raise ValueError(f"the model reads {domain.noun}; got a table.")
        return domain.encode(*encode_rows(domain, rows))

    @torch.no_grad()
    def _scores(self, X: Any) -> Tensor:
        """(N, C) float64, the scores of the model."""
        parts = self._inputs(X).split(TOGETHER)
        return torch.cat([self.model_(part.to(self.model_.device)).cpu() for part in parts]).double()


class ZooClassifier(ClassifierMixin, _ZooEstimator):
    """A classifier whose predictions are explained by `explain`.

    `X` is a table: an array (N, F), or a data frame of pandas or polars with categories, dates and missing values as
    `zoo.data.Table` reads them; or images (N, C, H, W), uint8 or numbers in [0, 1]; or series (N, T, V). A part of the
    rows is held out to choose the best epoch. Rows of weight 0 are left out. A column can be missing in a row that is
    predicted only if it was in some row of `fit`.

    Args:
        model: name of the model, see `zoo.list_models()`; the default reads tables.
        options: arguments of the model, such as {"units": 32} or {"backbone": "convnet"}.
        epochs: of the stages that train, in all, shared in proportion to the model's recipe; by default the recipe's.
        patience: epochs without improvement after which the last stage ends.
        data_options: such as {"batch_size": 64, "val_fraction": 0.2}; for tables, all of `zoo.data.Table`, such as
            {"types": {"grade": ["low", "high"]}}.
        trainer_options: arguments of `lightning.Trainer`, such as {"accelerator": "gpu"}.
        random_state: seed, or a generator or None as in scikit-learn, of weights, batches and the held-out rows.
        verbose: show the progress.

    Attributes:
        model_: the trained model of the zoo, for `zoo.save(classifier.model_, path)`.
        classes_: (C,) the classes.
        n_features_in_: number of columns (of images, channels; of series, steps).
        feature_names_in_: names of the columns, if X was a data frame whose names are texts.
    """

    classes_: "np.ndarray"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ZooClassifier":
        """Trains the model.

        Args:
            X: see the class.
            y: (N,) classes.
            sample_weight: (N,) weights of the rows of a table in the loss, for models that have them.

        Raises:
            ValueError: X, y or the weights do not fit, or an option is wrong.
        """
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        rows, y, weight = self._rows(X, y, sample_weight)
        classes, targets = np.unique(y, return_inverse=True)
        names = [str(label).strip() for label in classes]
        if len(names) < 2:
            raise ValueError(f"y has 1 class ({names[0]}); a classifier needs two or more.")
        if len(set(names)) < len(names) or not all(names):
            raise ValueError(f"classes must differ as texts and not be empty; got {', '.join(map(repr, names))}.")
        self._train(rows, targets, names, weight)
        self.classes_ = classes
        self._order = [self.model_.domain.classes.index(name) for name in names]  # a table may order them differently
        return self

    def predict_proba(self, X: Any) -> "np.ndarray":
        """(N, C) the probabilities of the classes, in the order of `classes_`."""
        scores = self._scores(X)[:, self._order]
        return (scores if self.model_.space == "probability" else scores.softmax(1)).numpy()

    def predict(self, X: Any) -> "np.ndarray":
        """(N,) the most probable class of each row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _column(self, target: Any) -> int:
        if target not in self.classes_:
            raise ValueError(f"target must be one of {', '.join(map(repr, self.classes_.tolist()))}; got {target!r}.")
        return self._order[int((self.classes_ == target).argmax())]


class ZooRegressor(RegressorMixin, _ZooEstimator):
    """A regressor of one or several values whose predictions are explained by `explain`.

    The model learns the values as they are. The default, "ga2m", takes values of any scale; for other models, scale
    values that are far from a standard deviation of 1 with `sklearn.compose.TransformedTargetRegressor`.

    Args:
        model, options, epochs, patience, data_options, trainer_options, random_state, verbose: see `ZooClassifier`.

    Attributes:
        model_, n_features_in_, feature_names_in_: see `ZooClassifier`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ZooRegressor":
        """Trains the model.

        Args:
            X: see `ZooClassifier`.
            y: (N,) or (N, C) values.
            sample_weight: (N,) weights of the rows of a table in the loss, for models that have them.

        Raises:
            ValueError: X, y or the weights do not fit, or an option is wrong.
        """
        if y is None:
            raise ValueError("ZooRegressor requires y to be passed, but the target y is None.")
        names = _names_of(y)
        y = check_array(y, ensure_2d=False, dtype="float64", input_name="y")
        rows, y, weight = self._rows(X, y, sample_weight)
        self._single = y.ndim == 1
        values = y.reshape(len(y), -1)
        self._train(rows, values, names or [f"y{i}" for i in range(values.shape[1])], weight)
        return self

    def predict(self, X: Any) -> "np.ndarray":
        """(N,) or (N, C) the values, as y was given."""
        values = self._scores(X).numpy()
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _names_of(y: Any) -> list[str]:
    """Names of the values of a series or a data frame; [] if it has none."""
    names = getattr(y, "columns", None)
    found = [getattr(y, "name", None)] if names is None else list(names)
    texts = [name.strip() for name in found if isinstance(name, str) and name.strip()]
    return texts if len(set(texts)) == len(found) else []


def _seed(random_state: Any) -> int:
    """The seed of an estimator, as scikit-learn reads it."""
    if isinstance(random_state, int):
        return random_state
    return int(check_random_state(random_state).randint(2**31))
