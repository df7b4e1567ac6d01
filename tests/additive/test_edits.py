"""Edits of curves against values computed by hand."""

from typing import Any

import pytest
import torch

from zoo.additive.layers.edits import edited, isotonic
from zoo.core.curves import Axis, Curve
from zoo.utils.yaml_files import ConfigLoader, parse_yaml

AGE = Axis("age", "steps", (20.5, 30.5, 40.5), ("missing",))
F = torch.tensor([-1.0, 2.0, 0.0, 3.0, 0.5])
AGE_CURVE = Curve(
    "age", (AGE,), torch.stack([-F / 2, F / 2], 1), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0]), torch.ones(5, 2)
)
JOB = Curve("job", (Axis("job", "levels", (), ("(unknown)", "clerk", "no")),), torch.ones(3, 2), torch.ones(3) / 3)
PAIR = Curve("age × job", (AGE, JOB.axes[0]), torch.ones(5, 3, 2), torch.ones(5, 3) / 15)
CURVES, CLASSES = (AGE_CURVE, JOB, PAIR), ("poor", "rich")


def after(text: str, classes: tuple[str, ...] = CLASSES) -> list[float]:
    """Log-odds of the second class of the first curve after edits."""
    values = edited(CURVES, parse_yaml(text, ConfigLoader), classes)[0].values
    assert torch.allclose(values.sum(1), torch.zeros(5))
    return [round(v, 6) for v in (values[:, 1] - values[:, 0]).tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- {unit: age, set: {from: 17, to: 25, value: 0.1}}", [0.1, 0.1, 0, 3, 0.5]),
        ("- {unit: age, set: {from: 30.5, to: 40, value: 7}}", [-1, 2, 7, 3, 0.5]),  # an edge is in the bin above it
        ("- {unit: age, set: {to: 20, value: 1}, class: poor}", [-1, 2, 0, 3, 0.5]),
        ("- {unit: age, set: {value: 0}}", [0, 0, 0, 0, 0.5]),
        ("- {unit: age, flatten: {from: 25, to: 35}}", [-1, 0.8, 0.8, 3, 0.5]),  # (0.2 * 2 + 0.3 * 0) / 0.5
        ("- {unit: age, monotone: increasing}", [-1, 0.8, 0.8, 3, 0.5]),
        ("- {unit: age, monotone: decreasing}", [1.5] * 4 + [0.5]),  # all pool: -0.1 + 0.4 + 0 + 1.2 over the mass 1
        ("- {unit: age, levels: {missing: -2}}", [-1, 2, 0, 3, -2]),
        ("- {unit: age, remove: true}", [0, 0, 0, 0, 0]),
        ("- {unit: age, remove: true}\n- {unit: age, set: {from: 50, value: 1}}", [0, 0, 0, 1, 0]),
    ],
)
def test_edits_by_hand(text: str, expected: list[float]) -> None:
    assert after(text) == expected


def test_other_curves_standard_errors_and_the_originals_stay() -> None:
    values, error = AGE_CURVE.values.clone(), torch.ones(5, 2)
    first, job, pair = edited(CURVES, [{"unit": "age", "set": {"from": 50, "value": 1.0}}], CLASSES)
    error[3] = 0
    assert first.error is not None and first.error.equal(error) and job is JOB and pair is PAIR
    assert AGE_CURVE.values.equal(values) and AGE_CURVE.error is not None and AGE_CURVE.error.equal(torch.ones(5, 2))
    assert not edited(CURVES, [{"unit": "age × job", "remove": True}], CLASSES)[2].values.any()


def test_one_target_and_many_classes() -> None:
    one = Curve("age", (AGE,), F[:, None], AGE_CURVE.density)
    assert edited([one], [{"unit": "age", "set": {"to": 0, "value": 9}}], ("price",))[0].values[0].tolist() == [9]
    three = Curve("age", (AGE,), torch.zeros(5, 3), AGE_CURVE.density)
    edits = [{"unit": "age", "class": "b", "levels": {"missing": 4}}]
    assert edited([three], edits, ("a", "b", "c"))[0].values[4].tolist() == [0, 4, 0]
    points = Curve("age", (Axis("age", "points", (1.0, 2.0, 3.0)),), torch.zeros(3, 1), torch.ones(3) / 3)
    found = edited([points], [{"unit": "age", "set": {"from": 2, "to": 2.5, "value": 1}}], ("y",))[0].values
    assert found[:, 0].tolist() == [0, 1, 0]


def test_isotonic_is_the_closest_increasing_sequence() -> None:
    torch.manual_seed(0)
    values, weights = torch.randn(30, dtype=torch.double), torch.rand(30, dtype=torch.double) + 0.1
    found = isotonic(values, weights)
    assert (found.diff() >= 0).all()
    reached = [  # the min-max formula
        max(
            min(float((weights[i : j + 1] * values[i : j + 1]).sum() / weights[i : j + 1].sum()) for j in range(k, 30))
            for i in range(k + 1)
        )
        for k in range(30)
    ]
    torch.testing.assert_close(found, torch.tensor(reached, dtype=torch.double))


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({}, r"edits must be a list such as .*; got dict"),
        ([{"set": {}}], "edit 1: must be a mapping with the name of a 'unit'"),
        ([{"unit": "age", "remove": True}, {"unit": "agee", "remove": True}], "edit 2: no unit named 'agee'; did you"),
        ([{"unit": "age", "flaten": {}}], "edit 1: an edit has no key 'flaten'; did you mean 'flatten'?"),
        ([{"unit": "age", "flatten": {}, "remove": True}], "must have one of set, .*; got flatten, remove"),
        ([{"unit": "age", "set": {"from": 5, "to": 1, "value": 0}}], "from must not be above to; got 5 and 1"),
        ([{"unit": "age", "set": {"from": 5, "too": 1, "value": 0}}], "set of unit 'age' has no key 'too'; did you"),
        ([{"unit": "age", "set": {"from": 5}}], "unit 'age': value must be a finite number; got None"),
        ([{"unit": "age", "set": {"value": float("nan")}}], "value must be a finite number; got nan"),
        ([{"unit": "job", "set": {"value": 1}}], "unit 'job' is a category; use levels"),
        ([{"unit": "job", "levels": {"clark": 1}}], "levels of unit 'job' has no level 'clark'; did you mean 'clerk'"),
        ([{"unit": "job", "levels": {False: 1}}], "put names such as 'yes' and 'no' in quotes"),
        ([{"unit": "age × job", "monotone": "increasing"}], "is of 2 columns; such units can only be removed"),
        ([{"unit": "age", "monotone": "up"}], "monotone must be increasing or decreasing; got 'up'"),
        ([{"unit": "age", "class": "ritch", "flatten": {}}], "no class 'ritch'; did you mean 'rich'"),
        ([{"unit": "age", "remove": "yes"}], "write remove: true"),
    ],
)
def test_mistakes_are_named(edits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edited(CURVES, edits, CLASSES)


def test_many_classes_need_a_class() -> None:
    with pytest.raises(ValueError, match="unit 'age' has a curve for each of 3 classes; add class: NAME"):
        edited(CURVES, [{"unit": "age", "flatten": {}}], ("a", "b", "c"))
