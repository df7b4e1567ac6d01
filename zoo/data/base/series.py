"""The base of data modules of time series: one length for all, and normalised variables."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import SeriesDomain


@dataclass(frozen=True)
class Recordings:
    """Raw series and their targets.

    Attributes:
        series: by split, N series (S, V) of any length S.
        targets: by split, (N,) classes, or (N, C) values.
        classes: names of the classes or values.
        variables: names of the V variables.
        task: "classification" or "regression".
    """

    series: dict[str, list[Tensor]]
    targets: dict[str, Tensor]
    classes: tuple[str, ...]
    variables: tuple[str, ...]
    task: str = "classification"


class SeriesData(DataModule):
    """The base of data modules of series; a subclass defines `read` and sets `title`.

    Attributes:
        title: name of the data, for the names of the items.
        columns: names of the steps in a table with one series per row; empty if the data do not come from one.

    Args:
        uneven: how to treat series of other lengths: "refuse", "zero", "last" or "resample", see `SeriesDomain`.
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

    def __init__(
        self,
        uneven: str = "refuse",
        length: int | None = None,
        step: float = 1.0,
        unit: str = "step",
        batch_size: int = 16,
        val_fraction: float = 0.2,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, **loading)
        self.uneven, self.length, self.step, self.unit = uneven, length, step, unit

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
        train = raw.series["train"]
        lengths = [len(one) for one in train]
        if self.uneven == "refuse" and min(lengths) < max(lengths):
            raise ValueError(
                f"the training series of {self.title} have different lengths, {min(lengths)} to {max(lengths)} steps; "
                "set uneven to 'zero', 'last' or 'resample'."
            )
        steps = torch.cat(train).double()  # as measured, without padding
        mean, std = steps.mean(0), steps.std(0, correction=0)
        return SeriesDomain(
            classes=raw.classes,
            task=raw.task,
            variables=raw.variables,
            length=max(lengths) if self.length is None else self.length,
            mean=tuple(mean.tolist()),
            std=tuple(torch.where(std > 1e-8, std, 1.0).tolist()),  # a constant variable is only centred
            step=self.step,
            unit=self.unit,
            uneven=self.uneven,
            columns=self.columns,
        )

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        rows = {}
        for split, series in self._raw.series.items():
            names = [f"{self.title} {split} {i}" for i in range(len(series))]
            rows[split] = Rows(self._inputs(series, names), self._raw.targets[split], names)
        return rows

    def _inputs(self, series: list[Tensor], names: list[str]) -> Tensor:
        if all(one.shape == self._made.shape for one in series):
            inputs = self._made.normalise(torch.stack(series))
            if bool(inputs.isfinite().all()):
                return inputs
        try:
            return torch.stack([self._made.preprocess(one) for one in series])
        except ValueError as error:
            raise ValueError(f"{names[0].removesuffix(' 0')}: {error}") from None
