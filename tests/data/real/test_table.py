"""Own tables: columns of any kind, missing values, splits, targets, weights, files and data frames."""

import math
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import Adult, SklearnTable, Table
from zoo.data.base import frames
from zoo.domain import Domain, TableDomain

HEAD = "age,job,school,since,risk,label"
TYPES: dict[str, Any] = {"school": ["low", "middle", "high"]}


def lines(count: int = 60) -> list[str]:
    jobs, schools = ("clerk", "pilot", "none"), ("low", "middle", "high")
    return [
        f"{20 + (7 * i) % 40},{jobs[i % 3]},{schools[(i // 2) % 3]},2024-0{i % 9 + 1}-1{i % 7},"
        f"{(-7, '', 60 + i)[min(i % 5, 2)]},{'ab'[(i * i // 3) % 2]}"
        for i in range(count)
    ]


def table(folder: Path, rows: list[str] | None = None, head: str = HEAD, name: str = "t.csv") -> str:
    text = "\n".join([head, *(lines() if rows is None else rows)]) + "\n"
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def domain_of(data: Table) -> TableDomain:
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, TableDomain)
    return domain


def test_kinds_of_columns_and_raw_values(tmp_path: Path) -> None:
    data = Table(table(tmp_path), types=TYPES, missing={"risk": [-7]})
    domain = domain_of(data)
    kinds = {column.name: column.kind for column in domain.columns}
    assert kinds == {
        "age": "number",
        "job": "category",
        "school": "ordered",
        "since (month)": "number",
        "since (day)": "number",
        "since (weekday)": "number",
        "risk": "number",
    }
    assert domain.columns[-1].missing == ("-7", "") and domain.classes == ("a", "b")
    train = data.items("train", True)
    place = domain.slices[0].start
    assert abs(float(train.inputs[:, place].mean())) < 1e-5
    assert float(train.inputs[:, place].std(correction=0)) == pytest.approx(1, abs=1e-5)
    i = int(train.name(3).rsplit(" ", 1)[1]) - 2
    age, job, school, since, risk, _ = lines()[i].split(",")
    cells = domain.cells(train[3]["input"])
    assert (cells["age"], cells["job"], cells["school"]) == (age, job, school)
    assert cells["since (month)"] == since[6] and cells["risk"] == (risk or "missing")
    (tmp_path / "row.csv").write_text(f"unused,school,risk,since,job,age\nx,{school},{risk},{since},{job},{age}\n")
    assert torch.allclose(domain.read(tmp_path / "row.csv"), train[3]["input"], atol=1e-6)


def test_every_cell_is_encoded_as_one_by_one(tmp_path: Path) -> None:
    for scaling in ("standard", "quantile"):
        data = Table(table(tmp_path), types=TYPES, missing={"*": ["-7"]}, scaling=scaling)
        domain, train = domain_of(data), data.items("train", False)
        for i in range(0, len(train), 5):
            line = lines()[int(train.name(i).rsplit(" ", 1)[1]) - 2]
            row = dict(zip(HEAD.split(","), line.split(","), strict=True))
            assert torch.allclose(domain.preprocess(row), train[i]["input"], atol=1e-5)
        batch = train.__getitems__([4, 2])
        assert torch.equal(batch[1]["input"], train[2]["input"]) and torch.equal(train.inputs[4], batch[0]["input"])


def test_sources_give_the_same_rows(tmp_path: Path) -> None:
    path = table(tmp_path)
    expected = Table(path, types=TYPES).items("train", False)
    pandas, polars = pd.read_csv(path), pl.read_csv(path)
    polars.write_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.tsv").write_text(Path(path).read_text().replace(",", "\t"))
    halves = [table(tmp_path, lines()[:30], name="1.csv"), table(tmp_path, lines()[30:], name="2.csv")]
    for source in (pandas, polars, str(tmp_path / "t.parquet"), tmp_path / "t.tsv", halves):
        found = Table(source, types=TYPES).items("train", False)
        assert torch.equal(found.inputs, expected.inputs) and torch.equal(found.targets, expected.targets)
    assert Table(halves, types=TYPES).items("train", False).name(0).startswith("1.csv, line ")
    assert Table(pandas, types=TYPES).items("test", False).name(0).startswith("the data frame, row ")


def test_splits(tmp_path: Path) -> None:
    data = Table(table(tmp_path))
    parts = (data.train_dataset(), data.val_dataset(), data.test_dataset())
    assert sum(map(len, parts)) == 60 and len(parts[2]) == 12
    named = [f"{row},{('train', 'val', 'test')[i // 20]}" for i, row in enumerate(lines())]
    data = Table(table(tmp_path, named, HEAD + ",split"))
    assert [len(data.items(s, False)) for s in ("train", "val", "test")] == [20, 20, 20]
    groups = [f"{row},{i % 10}" for i, row in enumerate(lines())]
    data = Table(table(tmp_path, groups, HEAD + ",patient"), split={"group": "patient"})
    assert "patient" not in {column.name for column in domain_of(data).columns}
    of_group = [{int(data.items(s, False).name(i).split()[-1]) % 10 for i in range(len(data.items(s, False)))}
                for s in ("train", "val", "test")]  # fmt: skip
    assert sum(map(len, of_group)) == 10 == len(set().union(*of_group))
    data = Table(table(tmp_path), split={"time": "since"})
    months = [max if s == "train" else min for s in ("train", "test")]
    ends = [
        choose(lines()[int(items.name(i).split()[-1]) - 2].split(",")[3] for i in range(len(items)))
        for choose, items in zip(months, (data.items("train", False), data.items("test", False)), strict=True)
    ]
    assert ends[0] <= ends[1]
    data = Table(table(tmp_path), test=table(tmp_path, lines(8), name="other.csv"))
    assert len(data.test_dataset()) == 8 and data.test_dataset().name(0) == "other.csv, line 2"


def test_targets_weights_and_concepts(tmp_path: Path) -> None:
    data = Table(table(tmp_path), target="age", leave_out=["since"], weight="risk", missing=None, types=None)
    assert data.task is None
    with pytest.raises(ValueError, match=r"the weight 'risk' must be 0 or more; got '-7'"):
        _ = data.items("train", False)
    rows = [f"{row},{i % 4}" for i, row in enumerate(lines())]
    data = Table(table(tmp_path, rows, HEAD + ",w"), target="age", weight="w", leave_out=["risk"])
    assert data.domain["task"] == "regression" and data.items("train", False).targets.shape[1:] == (1,)
    assert data.items("train", False).weights.mean().item() == pytest.approx(1)
    assert set(data.items("train", False)[0]) == {"input", "target", "weight"}
    both = Table(table(tmp_path, rows, HEAD + ",w"), target=["age", "w"])
    assert both.domain["classes"] == ["age", "w"] and both.domain["task"] == "regression"
    data = Table(table(tmp_path, rows, HEAD + ",w"), target="w", task="classification")
    assert data.domain["classes"] == ["0", "1", "2", "3"]
    tall = [f"{row},{('1', '0', '')[i % 3]}" for i, row in enumerate(lines())]
    data = Table(table(tmp_path, tall, HEAD + ",tall"), concepts=["tall"])
    assert set(data.items("train", False).concepts[:, 0].nan_to_num(-1).tolist()) == {-1.0, 0.0, 1.0}


WARNED = [
    ("constant", lambda i: "7", "column 'new' is '7' in every training row; it is left out"),
    ("empty", lambda i: "", "column 'new' has no values in the training rows; it is left out"),
    ("copies the target", lambda i: lines()[i][-1], "column 'new' determines the target of every training row"),
    ("many levels", lambda i: f"level {i % 150}", r"column 'new' has 1\d\d levels; the 99 most frequent"),
]


@pytest.mark.parametrize(("kind", "cell", "message"), WARNED, ids=[kind for kind, _, _ in WARNED])
def test_columns_that_are_warned_of(tmp_path: Path, kind: str, cell: Any, message: str) -> None:
    count = 450 if kind == "many levels" else 60
    rows = [f"{cell(i)},{row}" for i, row in enumerate(lines(count))]
    with pytest.warns(UserWarning, match=message):
        domain = domain_of(Table(table(tmp_path, rows, "new," + HEAD)))
    if kind == "many levels":
        assert domain.columns[0].width == 100 and domain.columns[0].levels[-1] == "(other)"


BROKEN = [
    ("1,pilot,low,2024-01-01,3", {}, "t.csv, line 62 has 5 cells; expected 6"),
    ("1,pilot,low,2024-01-01,3,a,b", {}, "t.csv, line 62 has 7 cells; expected 6"),
    ("1,pilot,low,2024-01-01,3,", {}, "t.csv, line 62: the target 'label' is empty"),
    ("1,pilot,low,2024-01-01,3,nan", {}, "t.csv, line 62: the target 'label' is empty"),
    ("1,pilot,low,2024-01-01,3,c", {}, "class 'c' has only 1 training rows; 2 are needed"),
    ("old,pilot,low,2024-01-01,3,a", {}, r"column 'age' mixes numbers and texts, such as 'old' \(.*line 62\)"),
    ("'12,pilot,low,2024-01-01,3,a", {}, "column 'age' mixes numbers and texts"),
    ("1e99,pilot,low,2024-01-01,3,a", {}, "line 62: 'age' must be within the range of 32-bit floats"),
    ("inf,pilot,low,2024-01-01,3,a", {}, "column 'age' mixes numbers and texts, such as 'inf'"),
    ("1,pilot,top,2024-01-01,3,a", {"types": TYPES}, "line 62: 'school' is 'top', which is not one of its levels"),
    ("1,pilot,low,2024-13-01,3,a", {"types": {"since": "date"}}, "line 62: 'since' must be a date such as 2024-12-31"),
    ('1,"pilot,low,2024-01-01,3,a', {}, "line 62 cannot be read"),
    ("1,pi\0lot,low,2024-01-01,3,a", {}, "line 62 contains NUL characters"),
    ("1,pilot,low,2024-01-01,3,a", {"target": "kind"}, "has no column 'kind'"),
    ("1,pilot,low,2024-01-01,3,a", {"types": {"agee": "number"}}, "types names the column 'agee'; did you mean 'age'"),
    ("1,pilot,low,2024-01-01,3,a", {"types": {"age": "float"}}, "types: 'age' must be one of number, category, date"),
    ("1,pilot,low,2024-01-01,3,a", {"missing": {"rsk": ["-7"]}}, "missing names the column 'rsk'; did you mean 'risk'"),
    ("1,pilot,low,2024-01-01,3,a", {"leave_out": ["x"]}, "has no column 'x'"),
    ("1,pilot,low,2024-01-01,3,a", {"concepts": ["label"]}, "'label' is the target, and is named under concepts too"),
    ("1,pilot,low,2024-01-01,3,a", {"concepts": ["job"]}, "concept 'job' is '.*'; expected 0, 1 or nothing"),
    ("1,pilot,low,2024-01-01,3,a", {"weight": "job"}, "the weight 'job' must be 0 or more; got 'clerk'"),
    ("1,pilot,low,2024-01-01,3,a", {"target": "job", "task": "regression"}, "'job' must be a finite number; got"),
    ("1,pilot,low,2024-01-01,3,a", {"target": ["age", "job"]}, "the target 'job' must be a finite number"),
    ("1,pilot,low,2024-01-01,3,a", {"target": ["age", "job"], "task": "classification"}, "several targets are values"),
    ("1,pilot,low,2024-01-01,3,a", {"task": "ranking"}, "task must be one of classification, regression"),
    ("1,pilot,low,2024-01-01,3,a", {"scaling": "log"}, "scaling must be one of standard, quantile"),
    ("1,pilot,low,2024-01-01,3,a", {"split": {"column": "job"}}, "split is '.*'; expected train, val or test"),
    ("1,pilot,low,2024-01-01,3,a", {"split": {"fold": "job"}}, "split is a column that names train, val or test"),
    ("1,pilot,low,2024-01-01,3,a", {"split": {"group": "label"}}, "column 'label' has 2 groups; three or more"),
    ("1,pilot,low,2024-01-01,3,a", {"leave_out": HEAD.split(",")[:-1]}, "has no columns of features besides"),
]


@pytest.mark.parametrize(("line", "arguments", "message"), BROKEN)
def test_what_cannot_be_used(tmp_path: Path, line: str, arguments: dict, message: str) -> None:
    path = table(tmp_path, [*lines(), line])
    with pytest.raises(ValueError, match=message):
        _ = Table(path, **arguments).items("train", False)


FILES = [
    (b"", "the target|has no column 'label'|no rows"),
    (b"age,label\n", "has no rows below its first line"),
    (b"age,age,label\n1,2,a\n", "line 1 names the column 'age' twice"),
    (b"age,,label\n1,2,a\n", "has a column without a name"),
    (b"age,label\n\xff\xfe\xfa,a\n", "is not UTF-8 text"),
    (b"preis,label\n" + b"".join(b'"1.2%02d,5",a\n"3,%02d",b\n' % (i, i) for i in range(9)), "decimal commas"),
    (b"age,label\n" + b"1,a\n" * 9, "1 class"),
    (b"age,label\n" + b"1,a\n1,b\n" * 9, "every column of features is constant"),
    (b"id,label\n" + b"".join(b"name %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(300)), "identifies rows"),
]


@pytest.mark.filterwarnings("ignore:column 'age' is:UserWarning")
@pytest.mark.parametrize(("content", "message"), FILES)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        _ = Table(tmp_path / "t.csv").items("train", False)


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no table at"):
        _ = Table(str(tmp_path / "none.csv")).domain
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        _ = Table(str(tmp_path / "t.parquet")).domain
    with pytest.raises(TypeError, match="a table is the path of a CSV"):
        _ = Table(7).domain
    with pytest.raises(ValueError, match="the column 'a' is named twice"):
        _ = Table(pd.DataFrame([[1, 2]], columns=["a", "a"])).domain
    with pytest.raises(ValueError, match=r"column 'a' has cells of type List"):
        _ = Table(pl.DataFrame({"a": [[1], [2]], "label": ["a", "b"]})).domain
    other = table(tmp_path, ["1,a"], "age,label", name="other.csv")
    with pytest.raises(ValueError, match=r"other.csv has no column 'job', which .*t.csv has"):
        _ = Table([table(tmp_path), other]).domain


def test_texts_of_other_programs(tmp_path: Path) -> None:
    """A byte order mark, semicolons, blanks around cells, Windows line ends, and empty lines."""
    text = "\ufeffage ; job;label\r\n" + "".join(f" {i} ;{'xy'[i % 2]}; {'ab'[i // 2 % 2]}\r\n\r\n" for i in range(24))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    domain = domain_of(Table(tmp_path / "t.csv"))
    assert [column.name for column in domain.columns] == ["age", "job"] and domain.columns[1].levels == ("x", "y")
    (tmp_path / "u.csv").write_text(text.replace("\ufeff", ""), encoding="utf-16")
    assert domain_of(Table(tmp_path / "u.csv")) == domain


def test_codes_that_do_not_occur_are_refused_later(tmp_path: Path) -> None:
    domain = domain_of(Table(table(tmp_path), missing={"age": [-9]}, leave_out=["risk", "since", "school"]))
    assert domain.columns[0].absent == ("-9",) and not domain.columns[0].missing
    with pytest.raises(ValueError, match=r"feature 'age' is '-9\.0', a code of missing values that the training data"):
        domain.preprocess({"age": "-9.0", "job": "pilot"})


def test_adult(tmp_path: Path) -> None:
    names = "25, Private, 226802, 11th, 7, Never-married, Farming, Own-child, Black, Male, 0, 0, 40, United-States"
    rows = [names.replace("25", str(20 + i)) + f", {('<=50K', '>50K')[i % 2]}" for i in range(30)]
    (tmp_path / "adult.data").write_text("\n".join(rows) + "\n\n")
    (tmp_path / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(row + "." for row in rows) + "\n")
    with pytest.warns(UserWarning, match="it is left out"):
        data = Adult(str(tmp_path))
        assert data.domain["classes"] == ["<=50K", ">50K"] and len(data.test_dataset()) == 30
    assert not math.isnan(float(data.test_dataset()[0]["input"].sum()))


@pytest.mark.parametrize(
    ("name", "rows", "shape"), [("breast_cancer", 569, 30), ("wine", 178, 13), ("diabetes", 442, 10)]
)
def test_tables_of_scikit_learn(name: str, rows: int, shape: int) -> None:
    data = SklearnTable(name)
    assert domain_of(data).shape == (shape,)
    assert sum(map(len, (data.train_dataset(), data.val_dataset(), data.test_dataset()))) == rows
    assert (data.domain["task"] == "regression") == (name == "diabetes")


CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters=',"\n\r\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029'), max_size=4
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_large_files_are_read_as_small_ones(rows: list[tuple[str, ...]], end: str, last: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "t.csv"
        text = end.join(["a,b,c", *(",".join(row) for row in rows)]) + end * last
        path.write_text(text, encoding="utf-8", newline="")
        slow = attempt(path)
        patch.setattr(frames, "LARGE", 0)
        assert attempt(path) == slow


def attempt(path: Path) -> Any:
    """The cells and lines of a table, or the message of the error."""
    try:
        frame = frames.read_frame(path)
    except ValueError as error:
        return str(error)
    return frame.cells.rows(), frame.lines.tolist(), frame.cells.columns


@pytest.mark.parametrize("text", ["a,b\n1,2\n3\n", "a,b\n1,2,3\n", 'a,b\n"1,5",2\n', "a,b\n\n1,2\n", "a;b\n1;2\n"])
def test_large_files_of_other_forms(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text(text)
    slow = attempt(tmp_path / "t.csv")
    monkeypatch.setattr(frames, "LARGE", 0)
    assert attempt(tmp_path / "t.csv") == slow
