"""Switching series: the process, its evidence, and the Bayes rule by the forward algorithm."""

import numpy as np
import pytest
import torch
from scipy import special

from zoo.data import SwitchingSeries

MEANS = np.array([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])
STAY = np.array([[0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.03, 0.02, 0.95]])


def test_the_bayes_rule_reaches_the_ceiling() -> None:
    """P(state | series so far), step by step; P(y = 1) is then a mixture over the last state."""
    data = SwitchingSeries(20_000, 1, seed=5)
    items = data.items("train", False)
    x = items.inputs.double().numpy()
    state = np.full((len(x), 3), 1 / 3)
    for t in range(100):
        state = (state @ STAY if t else state) * np.exp(-((x[:, t, None] - MEANS) ** 2).sum(2) / 0.2)
        state /= state.sum(1, keepdims=True)
    p = (state * special.expit(3 * x[:, -1])).sum(1)
    assert np.maximum(p, 1 - p).mean() == pytest.approx(data.ceiling, abs=0.004)
    assert ((p > 0.5) == items.targets.numpy()).mean() == pytest.approx(data.ceiling, abs=0.009)
    last = items.regions[:, 0, -1].argmax(1).numpy()
    assert (state.argmax(1) == last).mean() > 0.9  # the posterior finds the state that the region names


def test_signals_since_the_last_change() -> None:
    data = SwitchingSeries(20_000, 1)
    items = data.items("train", False)
    last, state = items.regions[:, 0, -1].argmax(1), items.regions[:, 1]
    assert torch.equal(items.regions[:, 0].sum((1, 2)), torch.ones(20_000)) and not items.regions[:, 0, :-1].any()
    assert (state == state[..., :1]).all() and (state[:, -1] == 1).all() and (state.diff(dim=1) >= 0).all()
    for s in range(3):
        inside = items.inputs[last == s][state[last == s][..., 0].bool()]
        assert abs(inside.mean(0).numpy() - MEANS[s]).max() < 0.01
        assert (inside.var(0) - 0.1).abs().max() < 0.005
        before = (state[last == s][:, 1:, 0] - state[last == s][:, :-1, 0]).bool()
        changed = items.inputs[last == s][:, :-1][before].mean(0).numpy()  # the step before the state was entered
        mixture = STAY[:, s] * (np.arange(3) != s)
        assert abs(changed - mixture @ MEANS / mixture.sum()).max() < 0.06
    # A stay of k steps is as likely as the chain, in its equal mix of states, has it: 0.95 of the runs go on.
    runs = state[..., 0].sum(1)
    assert float((runs > 1).float().mean()) == pytest.approx(0.95, abs=0.01)
    assert float((runs > 20).float().mean()) == pytest.approx(0.95**20, abs=0.02)


def test_labels_listen_to_one_signal() -> None:
    items = SwitchingSeries(20_000, 1).items("train", False)
    heard = (items.inputs[:, -1] * items.regions[:, 0, -1]).sum(1)
    p = torch.sigmoid(3 * heard)
    for rows in p.argsort().chunk(8):
        assert float(items.targets[rows].float().mean()) == pytest.approx(float(p[rows].mean()), abs=0.04)


def test_another_series_stands_in_the_place_of_a_factor() -> None:
    data = SwitchingSeries(20_000, 1)
    items = data.items("train", False)
    last = items.regions[:, 0, -1].argmax(1, keepdim=True)
    heard = data.interventions("train", range(20_000), ["signal"])[:, -1].gather(1, last)[:, 0]
    for s in range(3):  # given the state, which tells by itself how likely the label is
        both = torch.stack([heard, items.targets.float()])[:, last[:, 0] == s]
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.04
    found = data.interventions("train", range(20_000), ["state"])[:, -1]
    known = torch.corrcoef(torch.cat([found, torch.nn.functional.one_hot(last[:, 0])], 1).mT)[:3, 3:]
    assert known.abs().max() < 0.03


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        SwitchingSeries(0, 5)
