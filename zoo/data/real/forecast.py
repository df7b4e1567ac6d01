"""Forecasts: windows of one long series, each a look-back and the values that follow it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Items
from zoo.data.base.module import DataModule
from zoo.data.base.row_tables import name_of, table_of
from zoo.data.real.shipped_series import PREFIX, shipped_series
from zoo.domain import SeriesDomain
from zoo.domain.series_gaps import MISSING, TimedSeries, fill, resample, steps_of, told
from zoo.domain.series_long import read_long
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.csv_files import Table

LARGEST = 1 << 31  # numbers in the values to predict of one split


class Windows(Items):
    """All windows of a series, `stride` steps apart.

    Args:
        values: (S, V) normalised, the inputs.
        raw: (S, V), the values to predict.
        lookback: T, steps of an input.
        horizon: H, steps to predict.
        stride: steps between the first steps of two windows.
        title: for the names of the items, which have the number of the window's first step.
        first: number of the first step.
    """

    def __init__(
        self, values: Tensor, raw: Tensor, lookback: int, horizon: int, stride: int, title: str, first: int
    ) -> None:
        self.inputs = values.unfold(0, lookback, 1)[: len(values) - lookback - horizon + 1 : stride].mT
        later = raw[lookback:].unfold(0, horizon, 1)[::stride]  # (N, V, H)
        self.targets = later.flatten(1)
        self.title, self.first, self.stride = title, first, stride

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.inputs[i], "target": self.targets[i]}

    def __getitems__(self, indices: list[int]) -> Sequence[dict[str, Any]]:
        return [self[i] for i in indices]

    def name(self, i: int) -> str:
        """Name of window i."""
        return f"{self.title} from step {self.first + i * self.stride}"


class Forecast(DataModule):
    """Forecasts of every variable of one long series, from a CSV or TSV with a row for each step.

    The rows are split by time: the first are for training, the next for validation, the last for the test. Each part is
    cut into windows of `lookback` steps and the `horizon` steps after them. No window reaches into another part, and
    mean and deviation are those of the training part. Gaps are filled, and irregular times resampled, within each part.

    The values to predict are those of all future steps of the first variable, of the second, and so on, in their own
    units. A trained model explains a table with the same columns: it reads the last `lookback` rows.

    Args:
        path: of the table; from Python also a data frame of pandas or polars. Or "statsmodels:co2" or another series
            of `zoo.data.real.shipped_series`, which needs statsmodels.
        lookback: T, steps of an input.
        horizon: H, steps to predict.
        variables: columns to read and to predict; by default all but the time.
        time: column of the times, numbers in `unit` or dates; "" if each row is a step.
        step: time between two steps; by default the median of the times, or 1 without times.
        unit: of time.
        missing: how to treat missing values: "refuse", "interpolate", "previous" or "mean", see `SeriesDomain`.
        test_fraction: share of the rows for the test; that for validation is `val_fraction`.
        gap: further rows that are left out between the parts.
        stride: steps between two training windows; those of the other parts are 1 apart.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: a number out of range, or an unknown choice.
    """

    def __init__(
        self,
        path: Any,
        lookback: int = 336,
        horizon: int = 96,
        variables: Sequence[str] | None = None,
        time: str = "",
        step: float | None = None,
        unit: str = "step",
        missing: str = "refuse",
        test_fraction: float = 0.2,
        gap: int = 0,
        stride: int = 1,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_at_least(1, lookback=lookback, horizon=horizon, stride=stride)
        check_at_least(0, gap=gap)
        check_choice(MISSING, missing=missing)
        if not 0 < test_fraction < 1 - self.val_fraction:
            raise ValueError(
                f"test_fraction and val_fraction must be above 0 and leave rows to train on; got {test_fraction} and "
                f"{self.val_fraction}."
            )
        self.path, self.lookback, self.horizon, self.variables = path, lookback, horizon, variables
        self.time, self.step, self.unit, self.missing = time, step, unit, missing
        self.test_fraction, self.gap, self.stride = test_fraction, gap, stride
        self.title = path if isinstance(path, str) and path.startswith(PREFIX) else name_of(path)

    def make_domain(self) -> SeriesDomain:
        train, _, step, unit = self._read
        values = train["train"].values.double()
        known = ~values.isnan()
        mean = values.nansum(0) / known.sum(0).clamp_min(1)
        deviation = ((values - mean).square().nansum(0) / known.sum(0).clamp_min(1)).sqrt()
        return SeriesDomain(
            classes=tuple(
                f"{name} {h} step{'s' * (h > 1)} ahead" for name in self._names for h in range(1, self.horizon + 1)
            ),
            task="regression",
            variables=self._names,
            length=self.lookback,
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(deviation > 1e-8, deviation, 1.0).tolist()),
            step=step,
            unit=unit,
            uneven="recent",
            missing=self.missing,
            time=self._time,
            horizon=self.horizon,
        )

    def items(self, split: str, training: bool) -> Windows:
        return self._windows[split]

    @cached_property
    def _table(self) -> tuple[Table, str]:
        """The table, and the unit of its times."""
        if self.title.startswith(PREFIX):
            table, unit = shipped_series(self.title)
            return table, unit if self.unit == "step" else self.unit
        return table_of(self.path), self.unit

    @property
    def _time(self) -> str:
        return self.time or ("time" if self.title.startswith(PREFIX) else "")

    @cached_property
    def _names(self) -> tuple[str, ...]:
        columns = self._table[0].columns
        names = tuple(self.variables or (name for name in columns if name and name != self._time))
        if not names:
            raise ValueError(f"{self._table[0].path} has no column to predict besides '{self._time}'.")
        return names

    @cached_property
    def _read(self) -> tuple[dict[str, TimedSeries], dict[str, int], float, str]:
        """Each part as measured, its first row, and the step and unit of time."""
        table, unit = self._table
        found = read_long(table, self._names, "", self._time, unit, self.missing != "refuse")
        rows = len(found[0].rows) if found else 0
        test, val = round(rows * self.test_fraction), round(rows * self.val_fraction)
        ends = {"train": rows - test - val - 2 * self.gap, "val": rows - test - self.gap, "test": rows}
        starts = {"train": 0, "val": ends["train"] + self.gap, "test": ends["val"] + self.gap}
        for part, start in starts.items():
            if ends[part] - start < self.lookback + self.horizon:
                raise ValueError(
                    f"{self.title}: {max(ends[part] - start, 0)} of {rows} rows are for the {part} part; a window has "
                    f"{self.lookback} + {self.horizon} steps. Use more rows, shorter windows, or other fractions."
                )
        values, times = found[0].series
        parts = {part: TimedSeries(values[s : ends[part]], times[s : ends[part]]) for part, s in starts.items()}
        apart = float(parts["train"].times.diff().median())
        step = self.step or (apart if self._time else 1.0)
        if not self._time:
            parts = {part: TimedSeries(one.values, one.times * step) for part, one in parts.items()}
        return parts, starts, step, unit

    @cached_property
    def _windows(self) -> dict[str, Windows]:
        domain, (parts, starts, step, unit) = self.make_domain(), self._read
        windows = {}
        for part, one in parts.items():
            where = f"{self.title}, {part} part"
            for text in told(one, self.missing, step, unit).values():
                print(f"note: {where}: {text}")
            try:
                filled = fill(one.values, self.missing, domain.mean, self._names, one.times)
                steps = steps_of(one, step)
                raw = filled if steps == len(filled) else resample(TimedSeries(filled, one.times), step)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            count, stride = len(raw) - self.lookback - self.horizon + 1, self.stride if part == "train" else 1
            if count < 1 or count // stride * self.horizon * len(self._names) > LARGEST:
                raise ValueError(
                    f"{where}: {max(count, 0)} windows of {self.lookback} + {self.horizon} steps are too "
                    f"{'few' if count < 1 else 'many'}; change horizon, stride or the fractions."
                )
            normal = domain.normalise(raw)
            title = f"{self.title} {part}"
            windows[part] = Windows(normal, raw, self.lookback, self.horizon, stride, title, starts[part])
        return windows
