"""Forecasts: windows of one series, split by time."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from zoo.data import Forecast
from zoo.domain import Domain, SeriesDomain
from zoo.domain.inputs import inputs_of, read_input
from zoo.utils import optional


def table(folder: Path, count: int = 100, name: str = "long.csv") -> Path:
    """Variables x = step and y = -10 step, one row an hour."""
    hours = pd.date_range("2024-01-01", periods=count, freq="h")
    pd.DataFrame({"when": hours, "x": range(count), "y": [-10.0 * i for i in range(count)]}).to_csv(
        folder / name, index=False
    )
    return folder / name


def of(path: object, **options: object) -> Forecast:
    return Forecast(path, **{"lookback": 6, "horizon": 2, "time": "when", "unit": "h", "val_fraction": 0.2, **options})


def test_windows_stay_within_their_part_of_the_time(tmp_path: Path) -> None:
    data = of(str(table(tmp_path)), gap=3)
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain) and domain.shape == (6, 2) and domain.step == 1 and domain.unit == "h"
    assert domain.classes == ("x 1 step ahead", "x 2 steps ahead", "y 1 step ahead", "y 2 steps ahead")
    assert domain.mean[0] == pytest.approx(26.5)  # of rows 0 to 53 alone
    rows = {}
    for split in ("train", "val", "test"):
        items = data.items(split, False)
        read = {
            round(v)
            for i in range(len(items))
            for v in (*domain.values(items[i]["input"])[:, 0].tolist(), *items[i]["target"][:2].tolist())
        }
        rows[split] = (min(read), max(read), len(items))
    assert rows == {"train": (0, 53, 47), "val": (57, 76, 13), "test": (80, 99, 13)}
    item = data.items("val", False)[2]
    torch.testing.assert_close(domain.values(item["input"])[:, 1], -10 * torch.arange(59.0, 65), atol=1e-2, rtol=0)
    assert item["target"].tolist() == [65, 66, -650, -660]
    assert data.items("val", False).name(2) == "long.csv val from step 59"
    assert len(of(str(table(tmp_path)), stride=5).items("train", True)) == 11


def test_a_trained_model_reads_the_last_steps_of_a_table(tmp_path: Path) -> None:
    data = of(str(table(tmp_path)), variables=["y"])
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain)
    (found,) = inputs_of([str(table(tmp_path, 9, "new.csv"))], domain)
    read = read_input(found, domain)
    torch.testing.assert_close(domain.values(read.x)[:, 0], -10 * torch.arange(3.0, 9), atol=1e-2, rtol=0)
    assert read.warnings == ()
    with pytest.raises(ValueError, match="a series of 4 steps; expected 6 or more"):
        read_input(table(tmp_path, 4, "short.csv"), domain)


def test_gaps_are_filled_within_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(table(tmp_path, 101))
    frame.loc[59:60, "x"] = None  # the last row for training and the first for validation
    with pytest.raises(ValueError, match="the data frame, row 59: 'x' must be a finite number; got ''"):
        _ = of(frame).domain
    data = of(frame.drop(index=95), missing="interpolate", gap=0)
    assert data.items("train", False)[52]["target"][1] == 58  # not a mean of both sides
    out = capsys.readouterr().out
    assert "note: the data frame, train part: 1 of 120 values are missing; filled with linear" in out
    assert "test part: The times are irregular, 1 to 2 h apart" in out
    assert data.items("test", False).targets.max() == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 19}, "long.csv: 20 of 100 rows are for the val part; a window has 19 . 2 steps"),
        ({"gap": 40}, "0 of 100 rows are for the train part"),
        ({"variables": ["z"]}, "has no column 'z'"),
        ({"time": "then"}, "has no column 'then'"),
        ({"unit": "step"}, "'when' must be a number if the unit is 'step'"),
        ({"test_fraction": 0.8}, "must be above 0 and leave rows to train on; got 0.8 and 0.2"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"missing": "zero"}, "missing must be one of refuse, interpolate, previous, mean; got 'zero'"),
    ],
)
def test_what_cannot_be_windows(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = of(str(table(tmp_path)), **options).domain


def test_series_of_statsmodels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in with the same files, so that the library is not needed."""
    folder = tmp_path / "statsmodels" / "datasets" / "co2"
    folder.mkdir(parents=True)
    days = pd.date_range("1958-03-29", periods=60, freq="7D").strftime("%Y%m%d")
    rows = [f"{day},{'' if i == 3 else 316 + i}" for i, day in enumerate(days)]
    (folder / "co2.csv").write_text("\n".join(["date,co2", *rows]))
    (tmp_path / "statsmodels" / "__init__.py").write_text("")
    with pytest.raises(ValueError, match="no series named 'statsmodels:co3'; did you mean 'co2'"):
        _ = Forecast("statsmodels:co3").domain
    with monkeypatch.context() as patched:
        patched.setattr(optional, "import_module", _absent)
        with pytest.raises(ImportError, match=r"pip install self-interpretable-zoo\[forecast\]"):
            _ = Forecast("statsmodels:co2", 6, 2).domain
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "statsmodels", raising=False)
    data = Forecast("statsmodels:co2", 6, 2, missing="previous", val_fraction=0.2)
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain) and domain.variables == ("co2",)
    assert (domain.step, domain.unit, domain.time) == (1, "week", "time")
    assert domain.values(data.items("train", False)[0]["input"])[3, 0] == pytest.approx(318)
    sys.modules.pop("statsmodels", None)


def _absent(name: str) -> object:
    raise ModuleNotFoundError(name=name)
