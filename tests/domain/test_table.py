"""Rows of a table: named values to tensors and back."""

from pathlib import Path

import pytest
import torch

from zoo.domain import TableDomain

SIZES = TableDomain(classes=("a", "b"), features=("width", "height"), mean=(2.0, 0.0), std=(4.0, 1.0))


def test_named_values_and_back() -> None:
    x = SIZES.preprocess({"height": "1.5", "width": 4})  # in any order, numbers or texts
    assert x.tolist() == [0.5, 1.5] and SIZES.values(x).tolist() == [4.0, 1.5]
    assert torch.equal(TableDomain(classes=("a",), features=("x",)).preprocess({"x": 3.0}), torch.tensor([3.0]))


@pytest.mark.parametrize("value", ["wide", "inf", "-infinity", "1,5"])
def test_values_that_are_not_finite_numbers(value: str) -> None:
    with pytest.raises(ValueError, match=f"feature 'width' must be a finite number; got {value!r}"):
        SIZES.preprocess({"width": value, "height": 1})


@pytest.mark.parametrize("value", ["", " ", None, "nan", "NaN", float("nan")])
def test_cells_that_are_empty(value: str | float | None) -> None:
    with pytest.raises(ValueError, match="feature 'width' is empty, and was never empty in the training data"):
        SIZES.preprocess({"width": value, "height": 1})


def test_a_feature_that_is_missing() -> None:
    with pytest.raises(ValueError, match=r"the row has no feature 'width'; did you mean 'widht'\?"):
        SIZES.preprocess({"widht": 1, "height": 1})


def test_files(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\ufeffheight,width\n1.5,4\n", encoding="utf-8")
    assert SIZES.read(table).tolist() == [0.5, 1.5]
    table.write_text("height,width\n1,4\n2,4\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has 2 rows; expected a header and one row"):
        SIZES.read(table)
    table.write_text("height,width\n1,wide\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.csv: feature 'width' must be a finite number; got 'wide'"):
        SIZES.read(table)
    with pytest.raises(FileNotFoundError, match="no table at"):
        SIZES.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ()}, "features must be one or more names; got none|two inputs have the name"),
        ({"features": ("x", "x")}, "features must be one or more names; got none|two inputs have the name"),
        ({"mean": (1.0,)}, "one number for each of 2 features, and std above 0; got 1 and 2"),
        ({"std": (1.0, 0.0)}, "and std above 0; got 2 and 2, smallest std 0.0"),
    ],
)
def test_tables_that_cannot_be(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableDomain(**{"classes": ("a",), "features": ("x", "y"), "mean": (0.0, 0.0), "std": (1.0, 1.0), **change})


def test_numbers_beyond_32_bits() -> None:
    """1e39 is finite in 64 bits only."""
    domain = TableDomain(classes=("a", "b"), features=("width", "height"), std=(1.0, 1e-3))
    with pytest.raises(ValueError, match="feature 'width' must be within the range of 32-bit floats"):
        domain.preprocess({"width": 1e39, "height": 1})
    with pytest.raises(ValueError, match="feature 'height' is 1e38, which overflows when it is normalised"):
        domain.preprocess({"width": 1, "height": "1e38"})
