"""Density and learning rate of every step."""

import math

import pytest

from zoo.circuits.network.schedule import Schedule


def test_schedule_at_chosen_steps() -> None:
    schedule = Schedule(1000, density=1 / 64, embedding_density=1 / 16)
    assert schedule.densities(0) == schedule.densities(10) == (1.0, 1.0)
    halfway = (0.25 - 0.01) / 0.49
    assert schedule.densities(250) == pytest.approx((1 - halfway * 63 / 64, 1 - halfway * 15 / 16))
    assert schedule.densities(500) == schedule.densities(1000) == pytest.approx((1 / 64, 1 / 16))


def test_learning_rate_falls_from_the_end_of_the_warmup_and_rises_as_the_network_gets_sparse() -> None:
    schedule = Schedule(1000, density=1 / 64, embedding_density=1 / 16)
    # Ten steps of warm-up from 0, then a line from 1 to 0 over the other 990.
    plain = {0: 0.0, 5: 0.5, 10: 1.0, 109: 0.9, 505: 0.5, 901: 0.1, 1000: 0.0}
    for step, factor in plain.items():
        assert schedule.lr_factor(step) == pytest.approx(factor * math.sqrt(1 / 64 / schedule.densities(step)[0]))
    assert schedule.lr_factor(505) == pytest.approx(0.5)
    assert Schedule(50, 0.25, 0.25).lr_factor(0) == pytest.approx(0.5)  # too short for a warm-up


def test_power_law_is_straight_in_both_logarithms() -> None:
    schedule = Schedule(1000, density=1 / 64, embedding_density=1 / 16, power=True)
    assert schedule.densities(0) == schedule.densities(10) == (1.0, 1.0)
    assert schedule.densities(100)[0] == pytest.approx(0.0865, abs=5e-5)
    density = math.exp(math.log(1 / 64) * math.log(200 / 10) / math.log(500 / 10))
    way = (1 - density) / (1 - 1 / 64)  # embeddings have made the same share of their way
    assert schedule.densities(200) == pytest.approx((density, 1 - way * 15 / 16))
    assert schedule.densities(500) == schedule.densities(1000) == pytest.approx((1 / 64, 1 / 16))


def test_power_law_from_the_first_step_and_without_sparsity() -> None:
    assert Schedule(100, 1 / 16, 1 / 4, start=0, end=1, power=True).densities(10)[0] == pytest.approx(1 / 4)
    assert Schedule(100, 1.0, 0.5, end=0.5, power=True).densities(49) == (1.0, 1.0)
    assert Schedule(1, 0.5, 0.5, end=0.5, power=True).densities(1) == (0.5, 0.5)


def test_without_an_anneal_the_target_holds_from_the_start() -> None:
    assert Schedule(100, 0.25, 0.5, end=0).densities(0) == (0.25, 0.5)
