"""Tables with one series per row: what a model trains from it also explains."""

from pathlib import Path

import pytest
import torch

from zoo.data import SeriesTable
from zoo.domain import Domain, SeriesDomain
from zoo.domain.inputs import inputs_of, read


def write(folder: Path, rows: list[str], head: str = "id,label,t0,t1,t2", name: str = "t.csv") -> str:
    (folder / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(folder / name)


def rows(count: int = 20) -> list[str]:
    return [f"{i},{'ab'[i % 2]},{i},{i % 3}.5,{-i}" for i in range(count)]


STEPS = ["t0", "t1", "t2"]


def test_rows_become_series_and_rows_of_other_tables_are_explained(tmp_path: Path) -> None:
    """A wide table could not be trained from."""
    data = SeriesTable(write(tmp_path, rows()), steps=STEPS)
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain) and domain.shape == (3, 1) and domain.columns == tuple(STEPS)
    assert domain.classes == ("a", "b")
    train = data.items("train", False)
    assert (
        len(train) == 16 and len(data.test_dataset()) == 4 and len(data.train_dataset()) + len(data.val_dataset()) == 16
    )
    raw = domain.values(torch.stack([train[i]["input"] for i in range(16)]))[..., 0]
    assert torch.allclose(raw[:, 0], -raw[:, 2], atol=1e-4)
    path = write(tmp_path, ["5,2,1", "7,8,9"], "t2,t1,t0", "other.csv")
    found = list(inputs_of([path], domain))
    assert [str(row) for row in found] == [f"{path} row 1", f"{path} row 2"]
    assert torch.allclose(domain.values(read(found[0], domain))[:, 0], torch.tensor([1.0, 2.0, 5.0]), atol=1e-4)
    one = write(tmp_path, ["1;2;3"], "t0;t1;t2", "one.csv")
    assert torch.allclose(domain.values(domain.read(one))[:, 0], torch.tensor([1.0, 2.0, 3.0]), atol=1e-4)


def test_splits_uneven_lengths_and_values(tmp_path: Path) -> None:
    lines = [f"{i / 2},{i},{'' if i % 2 else i},{('train', 'val', 'test')[i % 3]}" for i in range(12)]
    path = write(tmp_path, lines, "y,t0,t1,split")
    data = SeriesTable(path, label="y", task="regression", uneven="last", variable="pulse")
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain) and domain.shape == (2, 1) and domain.variables == ("pulse",)
    assert domain.task == "regression" and domain.classes == ("y",)
    assert [len(data.items(split, False)) for split in ("train", "val", "test")] == [4, 4, 4]
    item = data.items("val", False)[0]  # row 1, with one step
    assert item["target"].tolist() == [0.5] and item["input"][0] == item["input"][1]
    with pytest.raises(ValueError, match="have different lengths, 1 to 2 steps"):
        _ = SeriesTable(path, label="y", task="regression").domain


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("id,label,t0,t1,t2", "9,a,1,x,3", "t.csv, line 22: 't1' must be a finite number; got 'x'"),
        ("id,label,t0,t1,t2", "9,a,1,,3", "t.csv, line 22: 't1' must be a finite number; got ''"),
        ("id,label,t0,t1,t2", "9,a,,,", "t.csv, line 22: the series is empty"),
        ("id,label,t0,t1,t2", "9,a,1,2,1e39", "'t2' must be within the range of 32-bit floats"),
        ("id,label,t0,t1,t2", "9,,1,2,3", "t.csv, line 22: the label is empty"),
        ("id,label,t0,t1,t2", "9,a,1,2", "t.csv, line 22 has 4 cells; expected 5"),
        ("id,label,t0,t1,t3", "9,a,1,2,3", "t.csv has no column 't2'"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, head: str, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = SeriesTable(write(tmp_path, [*rows(), line], head), steps=STEPS, uneven="last").domain


def test_columns_by_default(tmp_path: Path) -> None:
    lines = [row.split(",", 1)[1] for row in rows()]
    assert SeriesTable(write(tmp_path, lines, "label,t0,t1,t2")).columns == ("t0", "t1", "t2")
    with pytest.raises(ValueError, match="has a column without a name; name it, remove it, or list `steps`"):
        _ = SeriesTable(write(tmp_path, rows(), ",label,t0,t1,t2")).domain
    with pytest.raises(ValueError, match="task must be one of classification, regression; got 'ranking'"):
        SeriesTable(write(tmp_path, rows()), task="ranking")
