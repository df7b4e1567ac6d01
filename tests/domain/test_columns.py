"""Columns of a raw table: numbers, categories, ordered categories, dates and missing values to inputs and back."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.domain import Column, Domain, TableDomain

CREDIT = TableDomain(
    classes=("bad", "good"),
    columns=(
        Column(name="risk", centre=70.0, scale=10.0, missing=("-7", "")),
        Column(name="job", kind="category", levels=("none", "clerk", "(other)"), missing=("?",)),
        Column(name="school", kind="ordered", levels=("low", "middle", "high"), centre=1.0, scale=0.5),
        Column(name="since (month)", source="since", part="month", centre=6.0, scale=2.0),
    ),
)
ROW = {"since": "2024-08-01", "school": "high", "job": "clerk", "risk": "85", "unused": "x"}


def test_a_row_in_any_order_with_further_columns() -> None:
    assert CREDIT.features == (
        *("risk", "risk is -7", "risk is missing"),
        *("job = none", "job = clerk", "job = (other)", "job is ?"),
        *("school", "since (month)"),
    )
    x = CREDIT.preprocess(ROW)
    assert x.tolist() == [1.5, 0, 0, 0, 1, 0, 0, 2.0, 1.0]
    assert CREDIT.cells(x) == {"risk": "85", "job": "clerk", "school": "high", "since (month)": "8"}
    assert not CREDIT.warnings(ROW, x)
    assert [s.start for s in CREDIT.slices] == [0, 3, 7, 8]


@pytest.mark.parametrize(
    ("change", "inputs", "cells"),
    [
        ({"risk": "-7"}, {1: 1.0}, {"risk": "-7"}),
        ({"risk": "-7.0"}, {1: 1.0}, {"risk": "-7"}),
        ({"risk": " "}, {2: 1.0}, {"risk": "missing"}),
        ({"risk": None}, {2: 1.0}, {"risk": "missing"}),
        ({"job": "?"}, {6: 1.0}, {"job": "?"}),
        ({"job": "pilot"}, {5: 1.0}, {"job": "(other)"}),
    ],
)
def test_missing_and_rare_values_have_an_input_of_their_own(change: dict, inputs: dict, cells: dict) -> None:
    x = CREDIT.preprocess(ROW | change)
    block = slice(0, 3) if "risk" in change else slice(3, 7)
    expected = torch.zeros(9)
    for place, value in inputs.items():
        expected[place] = value
    assert torch.equal(x[block], expected[block])
    assert CREDIT.cells(x) | cells == CREDIT.cells(x)


def test_a_category_that_the_training_data_did_not_have_is_told() -> None:
    column = Column(name="job", kind="category", levels=("none", "clerk"))
    domain = TableDomain(classes=("a",), columns=(column,))
    x = domain.preprocess({"job": "pilot"})
    assert x.tolist() == [0, 0] and domain.cells(x) == {"job": "(unknown)"}
    assert domain.warnings({"job": "pilot"}, x) == ["'job' is 'pilot', which did not occur in the training data."]
    assert CREDIT.warnings(ROW | {"job": "pilot"}, CREDIT.preprocess(ROW | {"job": "pilot"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": "high"}, "feature 'risk' must be a finite number; got 'high'"),
        ({"job": ""}, "feature 'job' is empty, and was never empty in the training data"),
        ({"school": "hihg"}, "feature 'school' is 'hihg', which is not one of its levels; did you mean 'high'"),
        ({"since": "01.08.2024"}, "feature 'since' must be a date such as 2024-12-31"),
    ],
)
def test_cells_that_do_not_fit(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CREDIT.preprocess(ROW | change)


def test_plain_data_and_back() -> None:
    plain = CREDIT.to_dict()
    assert "features" not in plain and Domain.from_dict(plain) == CREDIT
    assert replace(CREDIT, classes=("x",)).features == CREDIT.features
    old = TableDomain(classes=("a",), features=("x",)).to_dict()
    assert "columns" not in old
    with pytest.raises(ValueError, match="a column has no key 'level'; did you mean 'levels'"):
        TableDomain(classes=("a",), columns=({"name": "x", "level": ()},))  # type: ignore[arg-type]


@given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 2)), min_size=2, unique=True))
def test_quantile_scaling_is_increasing_and_has_an_inverse(value: float, knots: list[float]) -> None:
    scores = tuple(float(i) for i in range(len(knots)))
    column = Column(name="x", knots=tuple(sorted(knots)), scores=scores)
    assert column.unscaled(column.scaled(value)) == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert column.scaled(value + 1) > column.scaled(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "text"},
        {"kind": "category"},
        {"levels": ("a",)},
        {"kind": "category", "levels": ("a", "a")},
        {"part": "second"},
        {"scale": 0.0},
        {"knots": (0.0, 1.0)},
        {"knots": (1.0, 0.0), "scores": (0.0, 1.0)},
    ],
)
def test_columns_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match="column 'x'"):
        Column(name="x", **wrong)


def test_raw_values_are_free_of_the_rounding_of_inputs() -> None:
    """Regression: 0 of a column with a large mean was shown as 5.96e-05."""
    gain = Column(name="gain", centre=1077.65, scale=7385.4)
    weight = Column(name="weight", centre=189778.0, scale=105550.0)
    domain = TableDomain(classes=("a",), columns=(gain, weight, *CREDIT.columns))
    row = ROW | {"gain": "0", "weight": "1484705"}
    found = domain.row(domain.preprocess(row))
    assert found["gain"] == 0 and found["weight"] == 1484705 and domain.cells(domain.preprocess(row))["gain"] == "0"
    assert found["job"] == "clerk" and found["school"] == "high" and found["risk"] == 85


def test_columns_of_a_support() -> None:
    support = torch.zeros(9)
    support[[2, 7]] = 1
    assert CREDIT.columns_of(support) == ["risk", "school"]
