"""Series with missing values, or measured at irregular times: what fills the gaps, and how users are told."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MISSING = ("refuse", "interpolate", "previous", "mean")
REGULAR = 1e-3  # steps by which the times of a regular series may be off
SPARSE = 100  # steps for each measurement that resampling makes at most
TOLD = {
    "interpolate": "linear interpolation between their neighbours",
    "previous": "the value before",
    "mean": "the mean of the training data",
}


class TimedSeries(NamedTuple):
    """A series with the time of each measurement.

    Attributes:
        values: (S, V), NaN where a value is missing.
        times: (S,) float64, increasing, in the unit of the domain.
    """

    values: Tensor
    times: Tensor


def regular(times: Tensor, step: float) -> bool:
    """Whether neighbouring times (S,) are all one step apart."""
    return bool(((times.diff() - step).abs() <= REGULAR * step).all())


def steps_of(series: Tensor | TimedSeries, step: float) -> int:
    """S', the number of steps of a series once it has regular times.

    Raises:
        ValueError: the times span far more steps than there are measurements.
    """
    count = len(series.values) if isinstance(series, TimedSeries) else len(series)
    if isinstance(series, Tensor) or count < 2 or regular(series.times, step):
        return count
    first, last = float(series.times[0]), float(series.times[-1])
    steps = (last - first) / step
    if not steps <= SPARSE * count:
        raise ValueError(
            f"the {count} times from {first:g} to {last:g} span {steps:.3g} steps of {step:g}; correct the times, or "
            "train with a longer step."
        )
    return int(steps + REGULAR) + 1


def resample(series: TimedSeries, step: float) -> Tensor:
    """Values (S', V) at the first time and each further step up to the last time, linear between measurements.

    Args:
        series: without missing values.
        step: time between two steps.

    Raises:
        ValueError: the times span far more steps than there are measurements.
    """
    times = series.times.numpy()
    grid = times[0] + step * np.arange(steps_of(series, step))
    columns = [np.interp(grid, times, column) for column in series.values.double().numpy().T]
    return torch.from_numpy(np.stack(columns, 1)).float()


def fill(values: Tensor, how: str, mean: Sequence[float], names: Sequence[str], times: Tensor | None = None) -> Tensor:
    """Replaces NaN in a series (S, V).

    Args:
        values: the series.
        how: "interpolate" (linear in time; beyond the first and last value that value), "previous" (before the first
            value that value), or "mean".
        mean: of each variable.
        names: of the variables, for messages.
        times: (S,) of the steps; by default 0, 1, ...

    Raises:
        ValueError: a variable has no value at all, unless it is filled with the mean.
    """
    filled, places = values.clone(), np.arange(len(values)) if times is None else times.numpy()
    for v, name in enumerate(names):
        gaps = values[:, v].isnan()
        if not bool(gaps.any()):
            continue
        if how == "mean":
            filled[gaps, v] = mean[v]
            continue
        known = (~gaps).numpy()
        if not known.any():
            raise ValueError(f"'{name}' has no value at all; leave the series out, or use missing: mean.")
        given = values[:, v].double().numpy()
        if how == "previous":
            last = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
            column = given[np.where(last < 0, known.argmax(), last)]
        else:
            column = np.interp(places, places[known], given[known])
        filled[:, v] = torch.from_numpy(column).float()
    return filled


def told(raw: Tensor | TimedSeries, missing: str, step: float, unit: str) -> dict[str, str]:
    """What was done to a series, in sentences by kind; nothing if it has no gaps and regular times."""
    values = raw.values if isinstance(raw, TimedSeries) else raw
    found = {}
    if count := int(values.isnan().sum()):
        filled = f"{count} of {values.numel()} values are missing; filled with {TOLD[missing]}."
        found["missing values"] = filled
    if isinstance(raw, TimedSeries) and len(raw.times) > 1 and not regular(raw.times, step):
        apart = raw.times.diff()
        found["irregular times"] = (
            f"The times are irregular, {float(apart.min()):.4g} to {float(apart.max()):.4g} {unit} apart; the series "
            f"was resampled to a step of {step:.4g} {unit} by linear interpolation."
        )
    return found
