"""Synthetic tables: labels, evidence and ceilings against formulas written once more."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from zoo.data import SyntheticTable
from zoo.data.synthetic.table_tasks import TASKS

RELEVANT = {  # numbers of the features of each branch, and of the switch
    "syn1": ([1, 2], None),
    "syn2": ([3, 4, 5, 6], None),
    "syn3": ([7, 8, 9, 10], None),
    "xor": ([1, 2], None),
    "orange_skin": ([1, 2, 3, 4], None),
    "additive": ([1, 2, 3, 4], None),
}
SHARES = {"syn1": 0.50, "syn2": 0.56, "syn3": 0.52, "syn4": 0.53, "syn5": 0.51, "syn6": 0.54}  # of y = 1


def scores(name: str, x: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """F of each branch of a table, and the features it reads; the columns of x are x1, x2, ..."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.T[:10]
    a, b = x1 * x2, x3**2 + x4**2 + x5**2 + x6**2 - 4
    c = -10 * np.sin(0.2 * x7) + abs(x8) + x9 + np.exp(-x10) - 2.4
    skin = x1**2 + x2**2 + x3**2 + x4**2 - 4
    whole = -100 * np.sin(0.2 * x1) + abs(x2) + x3 + np.exp(-x4) - 2.4
    moved = -100 * np.sin(0.2 * x5) + abs(x6) + x7 + np.exp(-x8) - 2.4
    of_a, of_b, of_c, first = (a, [1, 2]), (b, [3, 4, 5, 6]), (c, [7, 8, 9, 10]), [1, 2, 3, 4]
    return {
        "syn1": [of_a],
        "syn2": [of_b],
        "syn3": [of_c],
        "syn4": [of_a, of_b],
        "syn5": [of_a, of_c],
        "syn6": [of_b, of_c],
        "xor": [of_a],
        "orange_skin": [(skin, first)],
        "additive": [(whole, first)],
        "switch": [(moved, [5, 6, 7, 8]), (skin, first)],
    }[name]


@pytest.mark.parametrize("name", TASKS)
def test_regions_are_what_the_score_reads(name: str) -> None:
    items = SyntheticTable(name, 2000, seed=3).items("train", False)
    x = items.inputs.double().numpy()
    branches = scores(name, x)
    for i in range(0, 1800, 7):
        branch = 0
        if name == "switch":  # one row in 700 is drawn from the other side
            branch = int(items.regions[i, 0, 0])
            assert abs(x[i, 9]) < 1.5 or branch == (x[i, 9] > 0)
        elif len(branches) > 1:
            branch = int(x[i, 10] >= 0)
        assert (items.regions[i, 0].nonzero().flatten() + 1).tolist() == branches[branch][1]
        if len(branches) > 1:
            assert (items.regions[i, 1].nonzero().flatten() + 1).tolist() == [10 if name == "switch" else 11]


@pytest.mark.parametrize("name", TASKS)
def test_labels_follow_the_score_of_the_active_branch(name: str) -> None:
    """In each tenth of the rows, ordered by P, as many labels are 1 as P says."""
    items = SyntheticTable(name, 40_000, seed=1).items("train", False)
    branches = scores(name, items.inputs.double().numpy())
    first = items.regions[:, 0, branches[0][1][0] - 1].numpy() == 1
    f = np.where(first, branches[0][0], branches[-1][0])
    p, y = special.expit(-f), items.targets.numpy()
    for part in np.array_split(np.argsort(p), 10):
        spread = np.sqrt((p[part] * (1 - p[part])).sum()) / len(part)
        assert abs(y[part].mean() - p[part].mean()) < 4 * spread + 1e-4
    assert name not in SHARES or y.mean() == pytest.approx(SHARES[name], abs=0.012)


def test_ceilings_by_integration() -> None:
    """x1 x2 has the density K0(|a|) / π, and a sum of four squares is chi-squared."""
    a = 2 * integrate.quad(lambda a: special.expit(a) * special.k0(a) / np.pi, 0, 60, limit=400)[0]
    halves = [(0, 4), (4, 120)]
    b = sum(integrate.quad(lambda q: special.expit(abs(q - 4)) * stats.chi2.pdf(q, 4), *half)[0] for half in halves)
    ceilings = {name: SyntheticTable(name).ceiling for name in TASKS}
    assert ceilings["syn1"] == ceilings["xor"] == pytest.approx(a, abs=1e-4)
    assert ceilings["syn2"] == ceilings["orange_skin"] == pytest.approx(b, abs=1e-4)
    assert ceilings["syn4"] == pytest.approx((a + b) / 2, abs=1e-4)
    published = {"syn1": 0.632, "syn2": 0.824, "syn3": 0.822, "syn4": 0.728, "syn5": 0.727, "syn6": 0.823}
    assert {name: round(ceilings[name], 3) for name in published} == published


@pytest.mark.parametrize(("name", "branch"), [("syn3", 0), ("additive", 0), ("switch", 0)])
def test_ceilings_by_the_bayes_rule_on_many_rows(name: str, branch: int) -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((500_000, 11))
    if name == "switch":  # P(N(3, 1) | x10) = sigmoid(6 x10): the rule does not know which branch was drawn
        x[:, 9] += draw.choice([-3, 3], len(x))
        (low, _), (high, _) = scores(name, x)
        p = special.expit(-6 * x[:, 9]) * special.expit(-low) + special.expit(6 * x[:, 9]) * special.expit(-high)
    else:
        p = special.expit(-scores(name, x)[0][0])
    assert SyntheticTable(name).ceiling == pytest.approx(np.maximum(p, 1 - p).mean(), abs=1e-3)


@pytest.mark.parametrize("name", TASKS)
def test_features_are_independent(name: str) -> None:
    """In either half of the switch too, where a published generator copies one block of features into the other."""
    items = SyntheticTable(name, 20_000).items("train", False)
    switch = TASKS[name].switch
    normal = [i for i in range(TASKS[name].features) if not (name == "switch" and i == 9)]
    for side in (items.regions[:, 0, 0] == 1, items.regions[:, 0, 0] == 0):
        rows = items.inputs[side]
        if len(rows):
            rows = rows[:, [i for i in normal if i + 1 != switch]]
            assert (torch.corrcoef(rows.mT) - torch.eye(rows.shape[1])).abs().max() < 0.06
            assert rows.mean(0).abs().max() < 0.06 and (rows.std(0) - 1).abs().max() < 0.06


@pytest.mark.parametrize(("name", "deviation"), [("syn6", 1.0), ("switch", 10**0.5)])
def test_what_is_drawn_again_says_nothing(name: str, deviation: float) -> None:
    data = SyntheticTable(name, test_count=20_000)
    items, rows = data.items("test", False), range(20_000)
    chosen, column = items.regions[:, 0, 2] == 1, 9 if name == "switch" else 10
    drawn = data.interventions("test", rows, ["switch"])[:, column]
    assert float(drawn.std()) == pytest.approx(deviation, abs=0.03) and abs(float(drawn.mean())) < 0.08
    for values in (items.inputs[:, column], items.targets, chosen):
        assert abs(float(torch.corrcoef(torch.stack([drawn, values.float()]))[0, 1])) < 0.03
    without = data.interventions("test", rows, ["branch"]).double().numpy()
    (low, first), (high, _) = scores(name, without)
    active = (items.regions[:, 0, first[0] - 1] == 1).numpy()
    guess = np.where(active, low, high) < 0
    share = max(float(items.targets.float().mean()), 0.5)
    assert (guess == items.targets.numpy()).mean() < share + 0.02  # no better than chance


def test_one_budget_of_labelled_rows() -> None:
    assert SyntheticTable("syn1").counts == {"train": 9000, "val": 1000, "test": 10_000}
    assert SyntheticTable("syn1", count=10, val_fraction=0.99).counts["train"] == 1


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(ValueError, match=r"name must be one of syn1, .*; got 'sin1'\. Did you mean 'syn1'\?"):
        SyntheticTable("sin1")
    with pytest.raises(ValueError, match="count must be at least 10; got 9"):
        SyntheticTable("syn1", 9, 1)
