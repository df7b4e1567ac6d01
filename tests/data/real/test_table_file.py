"""Tables of numbers: columns, splits, normalisation, and an error with file and line for what cannot be read."""

from pathlib import Path

import pytest
import torch

from zoo.data import TableFile
from zoo.domain import Domain, TableDomain


def table(folder: Path, rows: list[str], head: str = "height,width,label", name: str = "t.csv") -> str:
    (folder / name).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(folder / name)


def rows(count: int = 20) -> list[str]:
    return [f"{i}.5,{i % 3},{'ab'[i % 2]}" for i in range(count)]


def test_columns_are_features_and_come_back_as_they_were(tmp_path: Path) -> None:
    data = TableFile(table(tmp_path, rows()))
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, TableDomain)
    assert domain.features == ("height", "width") and domain.classes == ("a", "b")
    train = data.items("train", True)
    assert torch.allclose(train.inputs.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(train.inputs.std(0, correction=0), torch.ones(2), atol=1e-5)
    line = int(train.name(3).rsplit(" ", 1)[1]) - 2
    assert torch.allclose(domain.values(train.inputs[3]), torch.tensor([line + 0.5, line % 3]), atol=1e-5)
    (tmp_path / "row.csv").write_text(f"width,height\n{line % 3},{line}.5\n")
    assert torch.allclose(domain.read(tmp_path / "row.csv"), train.inputs[3], atol=1e-5)


def test_a_fifth_of_each_label_is_held_out_unless_the_table_has_a_split(tmp_path: Path) -> None:
    data = TableFile(table(tmp_path, rows(40)))
    parts = (data.train_dataset(), data.val_dataset(), data.test_dataset())
    assert sum(map(len, parts)) == 40 and len(parts[2]) == 8
    assert sorted(data.items("test", False).targets.tolist()) == [0] * 4 + [1] * 4
    split = [f"{row},{('train', 'val', 'test')[i // 10]}" for i, row in enumerate(rows(30))]
    data = TableFile(table(tmp_path, split, "height,width,label,split"))
    assert [len(data.items(s, False)) for s in ("train", "val", "test")] == [10, 10, 10]
    data = TableFile(table(tmp_path, rows()), test=table(tmp_path, rows(6), name="other.csv"))
    assert len(data.test_dataset()) == 6


def test_concepts_and_chosen_features(tmp_path: Path) -> None:
    lines = [f"{row},{('1', '0', '')[i % 3]}" for i, row in enumerate(rows())]
    data = TableFile(table(tmp_path, lines, "height,width,label,tall"), features=["width"], concepts=["tall"])
    domain = Domain.from_dict(data.domain)
    assert domain.concepts == ("tall",) and domain.shape == (1,)
    assert set(data.items("train", False).concepts[:, 0].nan_to_num(-1).tolist()) == {-1.0, 0.0, 1.0}


def test_values_to_predict(tmp_path: Path) -> None:
    data = TableFile(table(tmp_path, rows()), label="height", features=["width"], task="regression")
    assert data.domain["classes"] == ["height"] and data.items("train", False).targets.shape[1:] == (1,)


@pytest.mark.parametrize(
    ("head", "line", "arguments", "error"),
    [
        ("height,width,label", "1,x,a", {}, r"t.csv, line 22: 'width' must be a finite number; got 'x'"),
        ("height,width,label", "1,2,", {}, "t.csv, line 22: the label is empty"),
        ("height,width,label", "1,2,a,b", {}, "t.csv, line 22 has 4 cells; expected 3"),
        ("height,width,label", "1,1e39,a", {}, "t.csv, line 22: 'width' must be within the range of 32-bit floats"),
        ("height,,label", "1,2,a", {}, "has a column without a name; name it, remove it, or list `features`"),
        ("height,width,label", "1,2,a", {"label": "kind"}, "no column 'kind' .found: height, width, label"),
        ("height,width,label", "1,2,a", {"concepts": ["width"], "features": ["height"]}, "concept 'width' is '2'"),
        ("height,width,label", "1,2,c", {}, "class 'c' has only 1 training rows; 3 are needed"),
        (
            "height,width,label",
            "1,2,a",
            {"task": "ranking"},
            "task must be one of classification, regression; got 'ranking'",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, head: str, line: str, arguments: dict, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        _ = TableFile(table(tmp_path, [*rows(), line], head), **arguments).domain
    with pytest.raises(FileNotFoundError, match="no table at"):
        _ = TableFile(str(tmp_path / "none.csv")).domain
