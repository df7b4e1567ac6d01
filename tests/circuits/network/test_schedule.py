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


def test_learning_rate_rises_as_the_network_gets_sparse() -> None:
    schedule = Schedule(1000, density=1 / 64, embedding_density=1 / 16)
    assert schedule.lr_factor(0) == pytest.approx(1 / 10 / 8)  # a tenth of the warm-up, 1/8 for a density of 1
    for step in (0, 10, 250, 500, 750, 999):
        plain = min(1, (step + 1) / 10) * (1 - step / 1000)
        assert schedule.lr_factor(step) == pytest.approx(plain * math.sqrt(1 / 64 / schedule.densities(step)[0]))
    assert schedule.lr_factor(1000) == 0


def test_power_law_is_straight_in_logarithms() -> None:
    schedule = Schedule(100, density=1 / 16, embedding_density=1 / 4, start=0, end=1, power=True)
    assert schedule.densities(50) == pytest.approx((1 / 4, 1 / 2))


def test_without_an_anneal_the_target_holds_from_the_start() -> None:
    assert Schedule(100, 0.25, 0.5, end=0).densities(0) == (0.25, 0.5)
