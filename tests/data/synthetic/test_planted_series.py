"""Planted series: shapes written once more step by step, shares in closed form, and rules that find the class."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from zoo.data import PlantedSeries
from zoo.data.synthetic.arrays import EvidenceRows
from zoo.data.synthetic.planted_shapes import between, narma


def drawn(name: str, count: int, seed: int = 0) -> EvidenceRows:
    return PlantedSeries(name, count, 1, 1, seed=seed).items("train", False)


def trains() -> tuple[Tensor, Tensor]:
    """Every train of spikes (M, 50) that can be planted, and its class (M,); some first spikes do not fit."""
    rows, classes = [], []
    for c, (sign, period) in enumerate(((-1, 10), (1, 10), (-1, 17), (1, 17))):
        for start in range(50 - period):
            row = [0.0] * 50
            for centre in range(start, 50, period):
                if 1 <= centre <= 48:
                    row[centre - 1 : centre + 2] = [sign * 1.75, sign * 2.0, sign * 1.75]
            rows.append(row)
            classes.append(c)
    different = list({tuple(row): i for i, row in enumerate(rows)}.values())
    return torch.tensor(rows)[different], torch.tensor(classes)[different]


def test_base() -> None:
    """Mean (1.5 / 16 + 0.1) / 0.7; from u's moments 1.5 u_t u_(t-2) has variance .006836, and .00293 at lag 2."""
    base = narma(4000, 60, 2, 0.0, torch.Generator().manual_seed(0))
    assert base.shape == (4000, 60, 2) and base.min() > 0.1 / 0.7 and base.max() < 0.475 / 0.7
    deviation = math.sqrt((0.0068359 + 2 * 0.09 * 0.0029297) / 0.91)
    for step in (0, 30, 59):
        assert float(base[:, step].mean()) == pytest.approx(0.19375 / 0.7, abs=0.003)
        assert float(base[:, step].std()) == pytest.approx(deviation, abs=0.003)
    noisy = narma(4000, 60, 2, 1.0, torch.Generator().manual_seed(0))
    assert float((noisy - base).std()) == pytest.approx(1, abs=0.01) and abs(float((noisy - base).mean())) < 0.01
    kicks = base[:, 1:] - 0.3 * base[:, :-1] - 0.1
    assert kicks.min() > -1e-6 and kicks.max() < 0.375 + 1e-6
    lagged = (kicks[:, 2:] - 0.09375) * (kicks[:, :-2] - 0.09375)
    assert float(lagged.mean()) == pytest.approx(0.0029297, abs=2e-4)


def test_spikes() -> None:
    items, (rows, classes) = drawn("freq_shapes", 4000), trains()
    assert len(rows) == 142  # 146, but 4 that start at step 0 are those that start a period later
    shapes = (items.inputs - items.replacement)[..., 0]
    nearest = torch.cdist(shapes, rows).min(1)
    assert nearest.values.max() < 1e-3 and torch.equal(classes[nearest.indices], items.targets)
    assert torch.equal(items.regions[:, 0, :, 0], (rows[nearest.indices] != 0).float())
    assert len(nearest.indices.unique()) == len(rows)  # every one is drawn
    assert (
        float(items.replacement.std()) == pytest.approx(0.25, abs=0.003)
        and abs(float(items.replacement.mean())) < 0.003
    )


def test_shares_of_spikes() -> None:
    """135 spikes in 40 trains of period 10, 79 in 33 of period 17, of 3 steps in 50; about .20 and .145."""
    items = drawn("freq_shapes", 20_000)
    for label, share in enumerate((135 / 40, 135 / 40, 79 / 33, 79 / 33)):
        found = float(items.regions[items.targets == label].mean())
        assert found == pytest.approx(share * 3 / 50, abs=0.002)
        assert found == pytest.approx((0.20, 0.145)[label // 2], abs=0.006)


def test_trains_of_different_classes_are_far_apart() -> None:
    """The best rule takes one for another with probability Q(distance / (2 · 0.25)); the sum over others is a bound."""
    rows, classes = trains()
    distance = torch.cdist(rows.double(), rows.double())
    errors = torch.from_numpy(stats.norm.sf(distance.numpy() / 0.5)) * (classes[:, None] != classes)
    assert float(errors.sum(1).max()) < 1e-9


@pytest.mark.parametrize(("name", "lengths", "rate"), [("seqcomb_uv", (10, 19), 10), ("seqcomb_mv", (15, 29), 5)])
def test_ramps(name: str, lengths: tuple[int, int], rate: int) -> None:
    items, frequencies = drawn(name, 500), torch.arange(40)[:, None]
    found, waves = set(), []
    for x, base, regions, label in zip(
        items.inputs, items.replacement, items.regions, items.targets.tolist(), strict=True
    ):
        assert torch.equal(x[~regions.any(0).bool()], base[~regions.any(0).bool()])
        if label == 0:
            assert not regions.any()
            continue
        swing = 5 * (abs(float(base.min())) + abs(float(base.max())))
        ends, sensors = [], []
        for region, sign in zip(regions, ((), (-1, -1), (1, 1), (1, -1))[label], strict=True):
            steps, places = region.nonzero().T
            length, start = len(steps), int(steps[0])
            assert steps.tolist() == list(range(start, start + length)) and len(places.unique()) == 1
            j = torch.arange(length) - length // 2
            wave = x[steps, places] - sign * swing / length * j
            fits = ((frequencies * j).sin() - wave).abs().amax(1) < 1e-4
            assert int(fits.sum()) == 1
            waves.append(int(fits.byte().argmax()))
            found.add(length)
            ends += [start, start + length]
            sensors.append(int(places[0]))
        assert ends[0] < 100 and ends[1] <= ends[2] and ends[3] <= 200
        assert (sensors[0] != sensors[1]) == (name == "seqcomb_mv")
    assert found == set(range(lengths[0], lengths[1] + 1))
    assert np.mean(waves) == pytest.approx(rate, abs=0.5) and np.var(waves) == pytest.approx(rate, rel=0.25)


def ramp_class(x: Tensor, lengths: tuple[int, int], frequencies: int) -> Tensor:
    """(N,) the class, by fits of slope j + sin(A j) to every window of every length: the first's and the last's slope.

    The sum of squares left by the best slope is that of x - sin, less (Σ j (x - sin))² / Σ j².
    """
    count, steps, sensors = x.shape
    lines = x.permute(0, 2, 1).reshape(count * sensors, 1, steps)
    signs = torch.zeros(count, 2, steps, dtype=torch.bool)
    for length in range(lengths[0], lengths[1] + 1):
        j = torch.arange(length) - length // 2.0
        waves = torch.sin(torch.arange(frequencies)[:, None] * j)
        along = F.conv1d(lines, j[None, None]) - (waves @ j)[:, None]
        left = F.conv1d(lines.square(), torch.ones(1, 1, length)) - 2 * F.conv1d(lines, waves[:, None])
        left = left + waves.square().sum(1)[:, None] - along.square() / (j @ j)
        fits = torch.stack([(left < 4e-4 * length) & (along < 0), (left < 4e-4 * length) & (along > 0)])
        fits = fits.any(2).view(2, count, sensors, -1).any(2).movedim(0, 1)
        signs[..., : fits.shape[-1]] |= fits
    any_fit, at = signs.any(1), torch.arange(steps)
    rows, first, last = torch.arange(count), any_fit.byte().argmax(1), torch.where(any_fit, at, -1).amax(1)
    label = torch.where(signs[rows, 0, first], 1, torch.where(signs[rows, 1, last], 2, 3))
    return torch.where(any_fit.any(1), label, 0)


@pytest.mark.parametrize(
    ("name", "count", "lengths", "frequencies"), [("seqcomb_uv", 500, (10, 19), 28), ("seqcomb_mv", 120, (15, 29), 20)]
)
def test_ramps_are_found_without_their_parameters(
    name: str, count: int, lengths: tuple[int, int], frequencies: int
) -> None:
    items = drawn(name, count, seed=10)
    assert int((ramp_class(items.inputs, lengths, frequencies) != items.targets).sum()) <= 1


def test_windows_of_little_variance() -> None:
    items = drawn("lowvar", 4000)
    steps, starts = [], []
    for label, (sensor, level) in enumerate(((0, -1.5), (0, 1.5), (1, -1.5), (1, 1.5))):
        rows = items.targets == label
        inside = items.regions[rows, 0].bool()
        assert not inside[..., 1 - sensor].any()
        values = items.inputs[rows][inside]
        assert float(values.mean()) == pytest.approx(level, abs=0.005)
        assert float(values.std()) == pytest.approx(0.1, abs=0.003)
        for one in inside[..., sensor]:
            where = one.nonzero().flatten().tolist()
            assert where == list(range(where[0], where[0] + len(where)))
            steps.append(len(where))
            starts.append(where[0])
    assert set(steps) == set(range(10, 20)) and (min(starts), max(starts)) == (20, 159)
    assert float(items.replacement.std()) == pytest.approx(math.sqrt(1 + 0.0899**2), abs=0.005)


def test_windows_are_found_by_their_level() -> None:
    """Ten steps in a row with a sum of squares below .4 around a level: the bound, and the rule on the series."""
    missed = stats.chi2.sf(0.4 / 0.1**2, 10)
    mistaken = 3 * 191 * stats.ncx2.cdf(0.4, 10, 10 * (1.5 - 0.475 / 0.7) ** 2)  # the base's mean is at most .475 / .7
    assert missed + mistaken < 1e-4
    items = drawn("lowvar", 3000)
    near = torch.stack([(items.inputs - level).square() for level in (-1.5, 1.5)], 3)  # (N, T, sensor, level)
    assert torch.equal(near.unfold(1, 10, 1).sum(-1).amin(1).flatten(1).argmin(1), items.targets)


def test_base_is_that_of_the_same_seed_without_shapes() -> None:
    data = PlantedSeries("seqcomb_mv", 40, 1, 1, seed=6)
    base = narma(40, 200, 4, 0.01, replayed(data))
    found = data.interventions("train", range(40), data.factors)
    assert torch.equal(found, base)
    first = data.interventions("train", range(40), ["first ramp"])
    items = data.items("train", False)
    second = items.regions[:, 1].bool()
    assert torch.equal(first[second], items.inputs[second]) and torch.equal(first[~second], base[~second])


def replayed(data: PlantedSeries) -> torch.Generator:
    """The generator of the training split, after the classes."""
    generator = torch.Generator().manual_seed(3 * data.seed)
    torch.randperm(data.counts["train"], generator=generator)
    return generator


def test_between() -> None:
    low, high = torch.tensor([0, 5]).repeat(3000, 1), torch.tensor([3, 6]).repeat(3000, 1)
    found = between(low, high, torch.Generator().manual_seed(0))
    assert (found[:, 1] == 5).all() and (found[:, 0].bincount() / 3000 - 1 / 3).abs().max() < 0.03


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(
        ValueError, match=r"name must be one of freq_shapes, .*; got 'freqshapes'\. Did you mean 'freq_shapes'\?"
    ):
        PlantedSeries("freqshapes")
    with pytest.raises(ValueError, match="val_count must be at least 1; got 0"):
        PlantedSeries("lowvar", 10, 0, 5)
    assert PlantedSeries("lowvar").counts == {"train": 5000, "val": 100, "test": 1000}
