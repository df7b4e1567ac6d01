"""Series in the formats that users have: long tables, data frames, ARFF, NPY, gaps and irregular times."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from zoo.data import LongSeriesTable, SeriesArchive, SeriesArrays, SeriesTable
from zoo.domain import Domain, SeriesDomain
from zoo.domain.inputs import inputs_of, read_input


def long_table(folder: Path, lines: list[str], head: str = "id,time,pulse,pressure,label") -> Path:
    (folder / "long.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return folder / "long.csv"


def lines(count: int = 10, steps: int = 3) -> list[str]:
    """Rows of `count` series, last step first, the series mixed; the pulse of series s at time t is 10 s + t."""
    times = reversed(range(steps))
    return [f"s{i},{t * 0.5},{10 * i + t},{-i}.5,{'ab'[i % 2]}" for t in times for i in range(count)]


def domain_of(data: object) -> SeriesDomain:
    domain = Domain.from_dict(data.domain)  # pyright: ignore
    assert isinstance(domain, SeriesDomain)
    return domain


def test_long_table_of_several_variables_trains_and_is_explained(tmp_path: Path) -> None:
    path = long_table(tmp_path, lines())
    data = LongSeriesTable(str(path), unit="s")
    domain = domain_of(data)
    assert domain.shape == (3, 2) and domain.variables == ("pulse", "pressure") and domain.classes == ("a", "b")
    assert (domain.step, domain.unit, domain.name, domain.time) == (0.5, "s", "id", "time")
    assert [len(data.items(split, False)) for split in ("train", "test")] == [8, 2]
    found = list(inputs_of([str(path)], domain))
    assert len(found) == 10
    x = domain.values(read_input(found[4], domain).x)
    torch.testing.assert_close(x, torch.tensor([[40, -4.5], [41, -4.5], [42, -4.5]]), atol=1e-3, rtol=1e-4)
    assert read_input(found[4], domain).warnings == ()


def test_data_frames_are_read_like_files(tmp_path: Path) -> None:
    path = long_table(tmp_path, lines())
    frame = pd.read_csv(path)
    assert LongSeriesTable(frame, unit="s").domain == LongSeriesTable(str(path), unit="s").domain
    wide = pd.DataFrame({"t0": [1.0, 2, 3, None] * 5, "t1": range(20), "label": list("ab") * 10})
    data = SeriesTable(wide, missing="mean")
    assert domain_of(data).columns == ("t0", "t1") and len(data.items("train", False)) == 16
    with pytest.raises(ValueError, match="the data frame, row 3: 't0' must be a finite number; got ''"):
        _ = SeriesTable(wide).domain
    with pytest.raises(ValueError, match=r"the data frame has the column 'id' not \(found: t0, t1, label\)"):
        _ = LongSeriesTable(wide).domain
    with pytest.raises(TypeError, match=r"a table is the path of .* or a data frame of pandas or polars; got dict"):
        _ = LongSeriesTable({"a": 1}).domain


def test_irregular_times_are_resampled_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dates = ("2024-01", "2024-02", "2024-04", "2024-05-01 00:00")  # March is missing
    rows = [f"s{i},{d},{m},{'ab'[i % 2]}" for i in range(10) for d, m in zip(dates, (1, 2, 4, 5), strict=True)]
    data = LongSeriesTable(str(long_table(tmp_path, rows, "id,time,x,label")), unit="month")
    domain = domain_of(data)
    assert domain.shape == (5, 1) and domain.step == 1
    torch.testing.assert_close(domain.values(data.items("train", False)[0]["input"])[:, 0], torch.arange(1.0, 6))
    assert "note: 10 of 10 series have irregular times" in capsys.readouterr().out
    read = read_input(next(iter(inputs_of([str(tmp_path / "long.csv")], domain))), domain)
    assert read.warnings == (
        "The times are irregular, 1 to 2 month apart; the series was resampled to a step of 1 month by linear "
        "interpolation.",
    )
    with pytest.raises(ValueError, match="'time' must be a number if the unit is 'step'; for dates set `unit`"):
        _ = LongSeriesTable(str(tmp_path / "long.csv")).domain
    far = [*rows, "far,1900-01,1,a", "far,2900-01,1,a"]
    with pytest.raises(ValueError, match=r"span 1.2e.04 steps of 1; correct the times"):
        data = LongSeriesTable(str(long_table(tmp_path, far, "id,time,x,label")), unit="month")
        data.items("train", False), data.items("test", False)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("interpolate", [3.0, 3, 4, 5, 5]), ("previous", [3.0, 3, 3, 5, 5]), ("mean", [7.0, 3, 7, 5, 7])],
)
def test_missing_values_are_filled_as_declared(how: str, expected: list[float]) -> None:
    nan = float("nan")
    domain = SeriesDomain(classes=("a",), variables=("x",), length=5, mean=(7.0,), std=(1.0,), missing=how)
    raw = torch.tensor([[nan], [3], [nan], [5], [nan]])
    assert domain.values(domain.preprocess(raw))[:, 0].tolist() == expected
    assert any(text.startswith("3 of 5 values are missing; filled with") for text in domain.warnings(raw, raw))
    empty = torch.full((5, 1), nan)
    if how == "mean":
        assert domain.preprocess(empty).abs().max() == 0
    else:
        with pytest.raises(ValueError, match="'x' has no value at all; leave the series out, or use missing: mean"):
            domain.preprocess(empty)


def test_the_last_steps_are_read_if_so_declared() -> None:
    domain = SeriesDomain(classes=("a",), variables=("x",), length=2, uneven="recent")
    assert domain.preprocess(torch.arange(5.0)[:, None])[:, 0].tolist() == [3, 4]
    with pytest.raises(ValueError, match="a series of 1 steps; expected 2 or more"):
        domain.preprocess(torch.zeros(1, 1))


ARFF = "% about\n@relation toy\n"
PLAIN = ARFF + "@attribute att0 numeric\n@attribute att1 numeric\n@ATTRIBUTE target {1,2}\n@data\n"
NESTED = (
    ARFF + "@attribute both relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end both\n"
    "@attribute 'the class' {up,down}\n@data\n"
)


def test_arff_of_one_and_of_several_variables(tmp_path: Path) -> None:
    for split in ("TRAIN", "TEST"):
        (tmp_path / f"Toy_{split}.arff").write_text(PLAIN + "".join(f"{i},{i + 1},{1 + i % 2}\n" for i in range(6)))
        text = "".join(f"'{i},{i + 1}\\n7,?',{'up' if i % 2 else 'down'}\n" for i in range(6))
        (tmp_path / f"Both_{split}.arff").write_text(NESTED + text)
    one = SeriesArchive("Toy", str(tmp_path))
    assert domain_of(one).shape == (2, 1) and domain_of(one).classes == ("1", "2")
    torch.testing.assert_close(domain_of(one).values(one.items("test", False)[3]["input"]), torch.tensor([[3.0], [4]]))
    with pytest.raises(ValueError, match=r"Both_TRAIN.arff, line 9: missing or infinite values inside the series"):
        _ = SeriesArchive("Both", str(tmp_path)).domain
    two = SeriesArchive("Both", str(tmp_path), missing="previous")
    assert domain_of(two).shape == (2, 2) and domain_of(two).classes == ("down", "up")
    expected = torch.tensor([[3.0, 7], [4, 7]])
    torch.testing.assert_close(domain_of(two).values(two.items("test", False)[3]["input"]), expected)
    assert len(list(inputs_of([str(tmp_path / "Both_TEST.arff")], domain_of(two)))) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN, "has no series after a line '@data'"),
        (PLAIN + "1,2\n", "line 7 has 2 cells; expected 3, one per attribute"),
        (PLAIN + "{0 1}\n", "line 7 is in the sparse format"),
        (PLAIN + "1,x,1\n", "line 7: could not convert string to float: 'x'"),
        (PLAIN + "?,?,1\n", "line 7: missing or infinite values"),
        (ARFF + "@attribute a numeric\n@data\n1\n", "has 1 attributes; expected one for each step"),
        (NESTED + "'1,2\\n3',up\n", "line 9: variables of \\[2, 1\\] steps"),
        (NESTED + "'1,2,up\n", "line 9 cannot be read"),
        (NESTED + "'1,2\\n3,4',up\n'1,2',up\n", "line 10 has 1 variables; expected 2, as before"),
    ],
)
def test_faults_of_arff_files(tmp_path: Path, text: str, message: str) -> None:
    for split in ("TRAIN", "TEST"):
        (tmp_path / f"Toy_{split}.arff").write_text(text)
    with pytest.raises(ValueError, match=message):
        _ = SeriesArchive("Toy", str(tmp_path)).domain


def test_arrays_of_numpy(tmp_path: Path) -> None:
    values = np.arange(48.0).reshape(8, 3, 2)
    values[0, 1, 0] = np.nan
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_input.npy", values)
        np.save(tmp_path / f"{split}_target.npy", np.arange(8) % 2)
    with pytest.raises(ValueError, match=r"values that are NaN or infinite; clean them first, or let .* `missing`"):
        _ = SeriesArrays(str(tmp_path)).domain
    data = SeriesArrays(str(tmp_path), missing="interpolate")
    domain = domain_of(data)
    torch.testing.assert_close(
        domain.values(data.items("train", False)[0]["input"]), torch.arange(6.0).view(3, 2), atol=1e-5, rtol=0
    )
    found = list(inputs_of([str(tmp_path / "test_input.npy")], domain))
    assert len(found) == 8 and read_input(found[0], domain).x.equal(data.items("test", False)[0]["input"])
    (tmp_path / "test_target.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_target.npy"):
        _ = SeriesArrays(str(tmp_path), missing="interpolate").domain


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("s0,9,x,1,a", "line 32: 'pulse' must be a finite number; got 'x'"),
        ("s0,9,,1,a", "line 32: 'pulse' must be a finite number; got ''"),
        ("s0,noon,1,1,a", "line 32: 'time' must be a number or a date like .*; got 'noon'"),
        ("s0,inf,1,1,a", "line 32: 'time' must be a finite number or a date; got 'inf'"),
        ("s0,0.50,1,1,a", "line 32: series 's0' has two rows with the time '0.50'; keep one"),
        (",9,1,1,a", "line 32: 'id' is empty; it tells which series a row belongs to"),
        ("s0,9,1,1,b", "line 32: 'label' is 'b', but 'a' in other rows of series 's0'"),
        ("s0,9,1,1,", "line 32: 'label' is '', but 'a' in other rows"),
        ("s0,1.5,1,1,a", "different lengths, 3 to 4 steps; set uneven to"),
    ],
)
def test_rows_of_long_tables_that_cannot_be_read(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = LongSeriesTable(str(long_table(tmp_path, [*lines(), row])), val_fraction=0.5).domain
