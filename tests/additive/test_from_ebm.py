"""EBMs of InterpretML as models of the zoo: equal scores, on known, missing and unknown cells."""

from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.additive import from_ebm
from zoo.domain import TableDomain

glassbox = pytest.importorskip("interpret.glassbox")


def rows(count: int = 400) -> np.ndarray:
    draw = np.random.default_rng(0)
    x = np.empty((count, 3), dtype=object)
    x[:, 0], x[:, 1] = draw.normal(size=count), draw.normal(size=count).round(1)
    x[:, 2] = draw.choice(["a", "b", "c"], count)
    x[::17, 1] = np.nan
    return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["two", "three", "value"])
def test_scores_are_those_of_the_ebm(kind: str, tmp_path: Any) -> None:
    x = rows()
    number = x[:, 0].astype(float) * np.nan_to_num(x[:, 1].astype(float)) + (x[:, 2] == "a")
    y = number if kind == "value" else np.digitize(number, [0.3] if kind == "two" else [0, 1])
    model = glassbox.ExplainableBoostingRegressor if kind == "value" else glassbox.ExplainableBoostingClassifier
    pairs = 0 if kind == "three" else 2
    ebm = model(max_rounds=60, outer_bags=2, interactions=pairs, n_jobs=1, feature_names=["u", "v", "w"]).fit(x, y)
    ours = from_ebm(ebm)
    assert isinstance(ours.domain, TableDomain)
    test = np.concatenate([x, np.array([[0.1, 0.2, "z"], [9.0, np.nan, "a"]], dtype=object)])
    inputs = torch.stack([ours.domain.preprocess(dict(zip("uvw", row, strict=True))) for row in test])
    scores = ours(inputs).detach().double().numpy()
    expected = ebm.predict(test) if kind == "value" else ebm.decision_function(test)
    found = scores if kind == "three" else scores[:, -1] - (scores[:, 0] if kind == "two" else 0)
    assert np.abs(found - expected).max() < 1e-5
    ours.explain(inputs).check()
    assert len(ours.curves()) == 3 + pairs
    zoo.save(ours, tmp_path / "ebm")
    assert torch.equal(zoo.load(tmp_path / "ebm")(inputs), ours(inputs))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="is not fitted; call fit first"):
        from_ebm(glassbox.ExplainableBoostingClassifier())
