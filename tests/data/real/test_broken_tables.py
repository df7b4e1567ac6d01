"""Tables with mistakes that people make: each is refused with what to change, or read as documented."""

from pathlib import Path
from typing import Any

import pytest

from zoo.data import Table

ROWS = 24
LABEL = [f"{'ab'[(i // 2) % 2]}" for i in range(ROWS)]


def table(path: Path, text: str, **options: Any) -> dict[str, str]:
    """Reads a table completely; returns the kinds of its columns."""
    (path / "t.csv").write_text(text, encoding="utf-8", newline="")
    data = Table(path / "t.csv", **options)
    assert len(data.items("train", False)) and list(data.train_dataloader())
    return {column["name"]: column["kind"] for column in data.domain["columns"]}


def with_column(cells: list[str], name: str = "new") -> str:
    rows = [f"{i},{'xy'[i % 2]},{cell},{LABEL[i]}" for i, cell in enumerate(cells)]
    return "\n".join([f"age,job,{name},label", *rows]) + "\n"


def with_target(cells: list[str]) -> str:
    return "\n".join(["age,job,label", *(f"{i},{'xy'[i % 2]},{cell}" for i, cell in enumerate(cells))]) + "\n"


EVERY = range(ROWS)
GIVEN = [str(i) for i in EVERY]
CELLS = [
    ([f"{i}%" for i in EVERY], "has numbers with other signs, such as '0%'; write plain numbers"),
    ([f"${i}" for i in EVERY], "numbers with other signs, such as '\\$0'"),
    ([f"{i} €" for i in EVERY], "numbers with other signs, such as '0 €'"),
    ([f"1 {i:03d}" for i in EVERY], "numbers with other signs, such as '1 000'"),
    ([f"\u2212{i}" for i in EVERY], "numbers with other signs"),
    ([chr(0x660 + i % 10) for i in EVERY], "numbers with other signs"),
    ([f'"1,{i:03d}"' for i in EVERY], "numbers with decimal commas, such as '1,000'"),
    ([f"12/{i % 28 + 1:02d}/2024" for i in EVERY], "dates or times, such as '12/01/2024'; write dates as 2024-12-31"),
    ([f"{i % 28 + 1}.12.24" for i in EVERY], "dates or times, such as '1.12.24'"),
    ([f"2024/1/{i % 28 + 1}" for i in EVERY], "dates or times, such as '2024/1/1'"),
    ([("2024-01-02", "1/2/2024")[i % 2] for i in EVERY], "dates or times"),
    ([f"10:{i:02d}" for i in EVERY], "dates or times, such as '10:00'"),
    ([f"0000-01-{i % 28 + 1:02d}" for i in EVERY], "line 2: 'new' must be a date such as 2024-12-31"),
    ([f"2024-02-{i + 10}" for i in EVERY], "line 22: 'new' must be a date"),
    ([f"{i + 1}e300" for i in EVERY], "line 2: 'new' must be within the range of 32-bit floats"),
    ([("True", "1", "0")[i % 3] for i in EVERY], "mixes numbers and texts, such as 'True'"),
    *(
        ([code if i % 5 == 0 else str(i) for i in EVERY], r"mixes numbers and texts.*missing: \{new: \[")
        for code in ("NA", "N/A", "NULL", "None", "-", "?", "-inf", "#DIV/0!", "<5", "1..2", "12a")
    ),
]


@pytest.mark.parametrize(("cells", "message"), CELLS)
def test_cells_that_cannot_be_used(cells: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, with_column(cells))
    if "mixes" in message or "such as" in message:  # what the messages propose
        assert table(tmp_path, with_column(cells), types={"new": "category"})["new"] == "category"


READ = [
    ("number", [f"{i}e-300" for i in EVERY]),
    ("number", [f"\u00a0{i}\u00a0" for i in EVERY]),
    ("number", [str(10**17 + i) for i in EVERY]),
    ("category", [("True", "False")[i % 2] for i in EVERY]),
    ("category", [f'"a\nb{i % 2}"' for i in EVERY]),
    ("category", [f'"a ""b"" {i % 2}"' for i in EVERY]),
    ("category", [("<script>", "\u202ea")[i % 2] for i in EVERY]),
    ("category", ["x" * 100_000 + str(i % 2) for i in EVERY]),
]


@pytest.mark.parametrize(("kind", "cells"), READ, ids=range(len(READ)))
def test_cells_that_are_read(kind: str, cells: list[str], tmp_path: Path) -> None:
    assert table(tmp_path, with_column(cells))["new"] == kind


TARGETS = [
    ([("1", "1.0", "0")[i % 3] for i in EVERY], {}, "has the classes '1' and '1.0', which are the same number"),
    (["1.5"] * ROWS, {}, "the target 'label' is 1.5 in every training row"),
    (["3"] * ROWS, {"task": "regression"}, "the target 'label' is 3 in every training row"),
    ([f'"1,{i}"' for i in EVERY], {}, "the target 'label' has numbers with decimal commas, such as '1,0'"),
    ([f"c{i}" for i in EVERY], {}, "class 'c0' has only 1 training rows; 2 are needed"),
    (LABEL, {"target": []}, "the target is the name of a column, or a list of names; got none"),
    (LABEL, {"types": {"label": "number"}}, "types names the column 'label'; there are: age, job"),
]


@pytest.mark.parametrize(("cells", "options", "message"), TARGETS)
def test_targets_that_cannot_be_used(cells: list[str], options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, with_target(cells), **options)


def test_classes_that_differ_in_case_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the classes 'Yes' and 'yes'; are they one"):
        table(tmp_path, with_target([("Yes", "yes")[i // 2 % 2] for i in EVERY]))


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"missing": {"age": -7}}, r"missing: 'age' must be a list such as \[-7\]; got -7"),
    ({"missing": {"age": "NA"}}, r"must be a list such as \[NA\]"),
    ({"missing": ["NA"]}, "missing must be a mapping from names of columns"),
    ({"types": ["age"]}, "types must be a mapping from names of columns"),
    ({"types": {"job": []}}, r"column 'job' of kind 'ordered' has levels \(\)"),
    ({"types": {"job": ["x", "x"]}}, "needs one or more different ones"),
    ({"types": {"job": ["x"]}}, r"'job' is 'y', which is not one of its levels; there are: x\.$"),
    ({"types": {"job": "number"}}, "line 2: 'job' must be a finite number; got 'x'"),
    ({"types": {"age": "date"}}, "line 2: 'age' must be a date such as"),
    ({"leave_out": "age"}, r"leave_out must be a list of names such as \[age\]"),
    ({"concepts": "age"}, r"concepts must be a list of names such as \[age\]"),
    ({"concepts": ["new", "new"]}, "concept names must differ|concept 'new' is"),
    ({"split": "job"}, r"split must be a mapping such as \{group: NAME\}; got 'job'"),
    ({"split": {"time": "job"}}, "column 'job' must have several numbers, or dates such as 2024-12-31"),
    ({"split": {"time": "hole"}}, "has no column 'hole'"),
    ({"split": {"group": "new"}}, "line 5: 'new' is empty, and rows are split by it"),
    ({"split": {"time": "new"}}, "line 5: 'new' is empty"),
    ({"split": {"column": "job"}}, r"split is 'x'; expected train, val or test.*set split: \{\}"),
    ({"weight": "new"}, "line 5: the weight 'new' must be 0 or more; got ''"),
    ({"batch_size": 0}, "expected batch_size >= 1"),
    ({"val_fraction": 1.0}, "0 < val_fraction < 1; got 256, 0, 1.0"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, with_column(["" if i == 3 else str(i % 5) for i in EVERY]), **options)


FILES = [
    ("\n".join(["job,job = x,label", *(f"{'xy'[i % 2]},{i},{LABEL[i]}" for i in EVERY)]), "two inputs have the name"),
    ("\n".join(["d,d (day),label", *(f"2024-01-{i + 1:02d},{i},{LABEL[i]}" for i in EVERY)]), "rename a column"),
    ("\n".join(["age,age ,label", *(f"{i},{i},{LABEL[i]}" for i in EVERY)]), "line 1 names the column 'age' twice"),
    ("\n".join([",age,label", *(f"{i},{i % 7},{LABEL[i]}" for i in EVERY)]), "has a column without a name"),
    ("\n".join(["label", *LABEL]), "has no columns of features besides label"),
    ("\n".join(["age;job,label", *(f"{i},x,{LABEL[i]}" for i in EVERY)]), "line 2 has 3 cells; expected 2"),
    (
        "\n".join(["age|label", *(f"{i}|{LABEL[i]}" for i in EVERY)]),
        r"has no column 'label'; did you mean 'age\|label'",
    ),
    ("# made by x\nage,label\n1,a\n", "line 2 has 2 cells; expected 1"),
    ("\n".join(f"{i},{LABEL[i]}" for i in EVERY), "has no column 'label'; there are: 0, a"),
    ("<html><body>404</body></html>\n", "has no rows below its first line"),
    ('[{"age": 1, "label": "a"}]', "cannot be read|has no rows|has no column"),
    ("age,w,label\n" + "".join(f"{i},0,{LABEL[i]}\n" for i in EVERY), "the weights 'w' of all training rows are 0"),
    ("age,label\n1,a\n2,b\n", "class 'a' has only 1 training rows"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_files_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, text, weight="w" if ",w," in text else None)
