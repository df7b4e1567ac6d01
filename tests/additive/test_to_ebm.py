"""GA2M as an EBM of InterpretML: equal scores on cells of every kind, and back again."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import zoo
from zoo.additive import from_ebm, to_ebm_json
from zoo.additive.ga2m import GA2M
from zoo.data import Table
from zoo.domain import TableDomain

glassbox = pytest.importorskip("interpret.glassbox")
pytestmark = pytest.mark.filterwarnings("ignore")


def frame(kind: str, count: int = 600) -> pl.DataFrame:
    """Numbers with empty cells and a code, a category with a code, ordered levels."""
    draw = np.random.default_rng(0)
    u, v, w = draw.normal(size=count), draw.normal(size=count).round(1), draw.choice(["a", "b", "c", "?"], count)
    s = draw.choice(["low", "middle", "high"], count)
    y = np.where(u > 0, v, -v) + (w == "a") + (s == "high") * u
    columns: dict[str, Any] = {"u": u.tolist(), "v": v.tolist(), "w": w, "s": s}
    columns["v"][::17], columns["v"][::13] = [None] * len(v[::17]), [-7.0] * len(v[::13])
    columns["y"] = y if kind == "value" else np.digitize(y, [0.3] if kind == "two" else [0, 1])
    return pl.DataFrame(columns)


def ebm_of(model: GA2M) -> Any:
    classes = model.domain.task == "classification"
    kind = glassbox.ExplainableBoostingClassifier if classes else glassbox.ExplainableBoostingRegressor
    return kind()._from_jsonable(json.loads(json.dumps(to_ebm_json(model), allow_nan=False)))


def difference(model: GA2M, ebm: Any, cells: list[dict[str, Any]]) -> float:
    """The largest difference of scores."""
    assert isinstance(model.domain, TableDomain)
    inputs = torch.stack([model.domain.preprocess(row) for row in cells])
    names = [column.name for column in model.domain.layout]
    x = np.array([[np.nan if row[name] is None else row[name] for name in names] for row in cells], dtype=object)
    scores = model(inputs).detach().double().numpy()
    if model.domain.task == "regression":
        return float(np.abs(scores[:, 0] - ebm.predict(x)).max())
    found = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
    return float(np.abs(found - ebm.decision_function(x)).max())


@pytest.mark.parametrize("kind", ["two", "three", "value"])
def test_scores_are_equal(kind: str) -> None:
    data = Table(
        frame(kind), "y", types={"s": ["low", "middle", "high"]}, missing={"v": [-7], "w": ["?"]}, batch_size=600
    )
    model = GA2M(data.domain, pairs=3, bins=32)
    zoo.fit(model, data, progress=False)
    assert model.effects.used
    new = {"u": 0.1, "v": -7.0, "w": "never seen", "s": "low"}
    cells = [*frame(kind).drop("y").head(200).to_dicts(), new, {**new, "v": -6.9999, "u": -99.0}]
    ebm = ebm_of(model)
    assert difference(model, ebm, cells) < 1e-6 * max(1, model.intercept.abs().max())
    importance = ebm.term_importances()
    assert len(importance) == 4 + len(model.effects.used) and importance.max() > 0.1
    back = from_ebm(ebm)
    first, kept = model.curves()[4].error, back.curves()[4].error
    assert first is not None and kept is not None and float(first.max()) > 0
    assert float(kept.max()) == float(first.max())
    if kind == "two":
        changed = model.edited([{"unit": "u", "remove": True}])
        assert difference(changed, ebm_of(changed), cells) < 1e-6
        assert difference(back, ebm_of(back), [{**row, "s": row["s"]} for row in cells[:50]]) < 1e-6


def test_what_is_refused() -> None:
    data = Table(frame("two"), "y", batch_size=600)
    with pytest.raises(RuntimeError, match="is not fitted yet"):
        to_ebm_json(GA2M(data.domain))
