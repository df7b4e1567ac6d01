"""The base of data modules of time series: one length for all, and normalised variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import SeriesDomain
from zoo.domain.series_gaps import MISSING, TimedSeries, steps_of, told
from zoo.utils.checks import check_choice


@dataclass(frozen=True)
class Recordings:
    """Raw series and their targets.

    Attributes:
        series: by split, N series (S, V) of any length S.
        targets: by split, (N,) classes, or (N, C) values.
        classes: names of the classes or values.
        variables: names of the V variables.
        task: "classification" or "regression".
        step: time between two steps, if the data tell it.
        where: by split, the places of the series in their file, for messages; by default their numbers.
    """

    series: Mapping[str, Sequence[Tensor | TimedSeries]]
    targets: dict[str, Tensor]
    classes: tuple[str, ...]
    variables: tuple[str, ...]
    task: str = "classification"
    where: dict[str, list[str]] | None = None
    step: float | None = None


class SeriesData(DataModule):
    """The base of data modules of series; a subclass defines `read` and sets `title`.

    Attributes:
        title: name of the data, for the names of the items.
        columns: names of the steps in a table with one series per row; empty if the data do not come from one.
        name_column: in a table with a row for each step, the column that tells the series; "" for other data.
        time_column: the column of times; "" without one.

    Args:
        uneven: how to treat series of other lengths: "refuse", "zero", "last", "resample" or "recent", see
            `SeriesDomain`.
        missing: how to treat missing values: "refuse", "interpolate", "previous" or "mean", see `SeriesDomain`.
        length: number of steps of an input; by default that of the longest training series.
        step: time between two steps.
        unit: of `step`, for the time axis of pages.
        batch_size: items per batch.
        val_fraction: share of the training series held out for validation, if there is no validation split.
        **loading: the other options of `DataModule`.
    """

    title: str

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the steps in a table with one series per row; empty if the data do not come from one."""
        return ()

    name_column: str = ""
    time_column: str = ""

    def __init__(
        self,
        uneven: str = "refuse",
        missing: str = "refuse",
        length: int | None = None,
        step: float = 1.0,
        unit: str = "step",
        batch_size: int = 16,
        val_fraction: float = 0.2,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, **loading)
        check_choice(MISSING, missing=missing)
        self.uneven, self.missing, self.length, self.step, self.unit = uneven, missing, length, step, unit

    @property
    def gaps(self) -> bool:
        """Whether missing values are read as NaN."""
        return self.missing != "refuse"

    def read(self) -> Recordings:
        """The raw series of the splits "train" and "test", and optionally "val"."""
        raise NotImplementedError("a data module of series defines read()")

    def make_domain(self) -> SeriesDomain:
        return self._made

    def items(self, split: str, training: bool) -> Rows:
        return self._rows_of[split]

    @cached_property
    def _raw(self) -> Recordings:
        return self.read()

    @cached_property
    def _made(self) -> SeriesDomain:
        raw = self._raw
        train = [one.values if isinstance(one, TimedSeries) else one for one in raw.series["train"]]
        lengths = [steps_of(one, self._step) for one in raw.series["train"]]
        if self.uneven == "refuse" and min(lengths) < max(lengths):
            raise ValueError(
                f"the training series of {self.title} have different lengths, {min(lengths)} to {max(lengths)} steps; "
                "set uneven to 'zero', 'last', 'resample' or 'recent'."
            )
        steps = torch.cat(train).double()  # as measured, without padding
        known = ~steps.isnan()
        if not bool(known.any(0).all()):
            name = raw.variables[int(known.any(0).int().argmin())]
            raise ValueError(f"'{name}' has no value in any training series of {self.title}; leave it out.")
        count = known.sum(0)
        mean = steps.nansum(0) / count
        std = ((steps - mean).square().nansum(0) / count).sqrt()
        return SeriesDomain(
            classes=raw.classes,
            task=raw.task,
            variables=raw.variables,
            length=max(lengths) if self.length is None else self.length,
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(std > 1e-8, std, 1.0).tolist()),  # a constant variable is only centred
            step=self._step,
            unit=self.unit,
            uneven=self.uneven,
            missing=self.missing,
            columns=self.columns,
            name=self.name_column,
            time=self.time_column,
        )

    @property
    def _step(self) -> float:
        return self.step if self._raw.step is None else self._raw.step

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        rows: dict[str, Rows] = {}
        notes: dict[str, list[str]] = {}
        for split, series in self._raw.series.items():
            names = [f"{self.title} {split} {i}" for i in range(len(series))]
            where = names if self._raw.where is None else self._raw.where[split]
            rows[split] = Rows(self._inputs(series, where, notes), self._raw.targets[split], names)
        for kind, found in notes.items():
            print(f"note: {len(found)} of {sum(map(len, rows.values()))} series have {kind}; {found[0]}")
        return rows

    def _inputs(self, series: Sequence[Tensor | TimedSeries], where: list[str], notes: dict[str, list[str]]) -> Tensor:
        plain = [one for one in series if isinstance(one, Tensor) and one.shape == self._made.shape]
        if len(plain) == len(series):
            inputs = self._made.normalise(torch.stack(plain))
            if bool(inputs.isfinite().all()):
                return inputs
        inputs = []
        for place, one in zip(where, series, strict=True):
            try:
                inputs.append(self._made.preprocess(one))
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            for kind, text in told(one, self.missing, self._step, self.unit).items():
                notes.setdefault(kind, []).append(f"{place}: {text}")
        return torch.stack(inputs)
