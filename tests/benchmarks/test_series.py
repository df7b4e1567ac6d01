"""The benchmark of series: its page, its rows and the random convolutions."""

import re

import torch

from benchmarks import series
from benchmarks.rocket import Rocket
from benchmarks.runs import HERE, ordered, read
from benchmarks.series_page import page
from zoo.data.base.module import DataModule
from zoo.domain import SeriesDomain


def test_the_page_has_the_numbers_of_the_record() -> None:
    record = read(HERE / "SERIES.json")
    assert (HERE / "SERIES.md").read_text(encoding="utf-8") == series.page(record)
    assert list(record) == list(ordered(record, [*series.SETS, *series.PLANTED], list(series.MODELS)))


def test_the_best_is_bold_and_near_ones_are_counted() -> None:
    sizes = {"train": 10, "test": 20, "seconds": 2.0}
    record = {
        "A, first, seed 0": {"accuracy": 0.90, "units": 8, "effective units": 3.0, "n90": 4.0, **sizes},
        "A, first, seed 1": {"accuracy": 0.80, "units": 8, "effective units": 5.0, "n90": 6.0, **sizes},
        "A, second, seed 0": {"accuracy": 0.845, "seconds": 1.0},
        "B, first, seed 0": {"accuracy": 0.5, "units": 8, "effective units": 1.0, "n90": 1.0, **sizes},
        "B, second, seed 0": {"accuracy": 0.7, "seconds": 1.0},
        "P, first, seed 0": {"accuracy": 1.0, "average precision": 0.25, "seconds": 1.0},
    }
    text = page(record, ("P",), 500, 200)
    assert "Training seeds on data sets: 0, 1; but second 0. Training seeds on planted evidence: 0." in text
    assert "| A | 10 / 20 | **85.0 ± 7.1** | 84.5 |" in text and "| B | 10 / 20 | 50.0 | **70.0** |" in text
    assert "| mean | | 67.5 | 77.2 |" in text and "| within 1 | | 1 of 2 | 2 of 2 |" in text
    assert "| first | 8.0 | 3.0 | 3.7 | 2.0 |" in text and "| second |  |  |  | 1.0 |" in text
    assert re.search(r"### P\n\n.*\n.*\n\| first \| 100.0 \| 0.25 \|", text)


def test_the_mean_over_sets_has_its_interval_over_seeds() -> None:
    """The means of the seeds are 80, 70 and 75 %."""
    accuracy = {"A": (0.9, 0.7, 0.8), "B": (0.7, 0.7, 0.7)}
    record = {
        f"{name}, first, seed {seed}": {"accuracy": value, "seconds": 1.0}
        for name, values in accuracy.items()
        for seed, value in enumerate(values)
    }
    half = 4.303 * 5 / 3**0.5
    assert f"| mean | | 75.0 ± {half:.1f} |" in page(record, (), 500, 200)


def test_every_row_is_a_model_of_other_series() -> None:
    class Other(DataModule):
        def make_domain(self) -> SeriesDomain:
            return SeriesDomain(classes=("a", "b", "c"), variables=("u", "v"), length=40)

    for name, config in series.MODELS.items():
        if config:
            model = series.create(config, Other())
            assert model.domain.classes == ("a", "b", "c"), name


def test_random_convolutions_tell_frequencies_apart() -> None:
    target = torch.arange(60) % 2
    time = torch.arange(50) * torch.where(target == 0, 0.4, 0.9)[:, None]
    x = torch.stack([torch.sin(time + torch.rand(60, 1) * 6), torch.randn(60, 50)], 2)
    rocket = Rocket(kernels=200).fit(x[:30], target[:30])
    assert rocket.accuracy(x[30:], target[30:]) > 0.9
    features = rocket.features(x[:5])
    assert features.shape == (5, 400) and (features == Rocket(kernels=200).features(x[:5])).all()
