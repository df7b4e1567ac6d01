"""Generated tables and series: ceilings, what matters, exact removals."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate

from zoo.data import PlantedSeries, RuleTable, SyntheticTable
from zoo.data.planted_series import CLASSES, narma
from zoo.data.rules import MONKS, SIZES, falsifiers, satisfied, term_f1, truth_table_agreement
from zoo.data.synthetic import TABLES
from zoo.data.worlds import World

SMALL = {"count": 300, "val_count": 40, "test_count": 200}
WORLDS = [
    *(lambda n=n: SyntheticTable(n, **SMALL) for n in TABLES),
    *(lambda n=n: RuleTable(n, val_count=40) for n in MONKS),
    lambda: RuleTable("dnf", **SMALL),
    *(lambda n=n: PlantedSeries(n, **SMALL) for n in CLASSES),
]


@pytest.mark.parametrize("make", WORLDS)
def test_every_world(make: type[World]) -> None:
    world, again = make(), make()
    test = world.test_dataset()
    x, regions = (torch.stack([test[i][key] for i in range(len(test))]) for key in ("input", "regions"))
    assert x[0].shape == tuple(world.make_domain().shape) and regions.shape == (
        len(x),
        len(world.factors),
        *x.shape[1:],
    )
    assert set(regions.unique().tolist()) <= {0, 1} and 0.5 < world.ceiling <= 1
    rows = list(range(len(x)))
    assert again.interventions("test", rows, []).equal(x) and not world.items("train", True).inputs[:20].equal(x[:20])
    for number, factor in enumerate(world.factors):
        without = world.interventions("test", rows, [factor])
        changed = (without != x).float()
        assert not bool((changed * (1 - regions[:, number])).any())  # nothing else
        assert bool(changed.any())
    with pytest.raises(ValueError, match="there is no factor 'nonsense' to remove"):
        world.interventions("test", [0], ["nonsense"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("syn1", 0.632), ("syn2", 0.824), ("syn3", 0.822), ("syn4", 0.728), ("syn5", 0.727), ("syn6", 0.823)],
)
def test_published_ceilings(name: str, expected: float) -> None:
    assert SyntheticTable(name).ceiling == pytest.approx(expected, abs=0.003)


def test_ceilings_by_integration() -> None:
    normal = lambda *v: math.exp(-0.5 * sum(u * u for u in v)) / math.sqrt(2 * math.pi) ** len(v)  # noqa: E731
    best = lambda f: 1 / (1 + math.exp(-abs(f)))  # noqa: E731
    first = integrate.dblquad(lambda a, b: best(a * b) * normal(a, b), -7, 7, -7, 7, epsabs=1e-5)[0]
    assert SyntheticTable("syn1").ceiling == pytest.approx(first, abs=0.003)
    chi = lambda s: s * math.exp(-s / 2) / 4  # noqa: E731 (the density of the sum of four squares)
    second = integrate.quad(lambda s: best(s - 4) * chi(s), 0, 80)[0]
    assert SyntheticTable("syn2").ceiling == pytest.approx(second, abs=0.003)
    assert SyntheticTable("syn4").ceiling == pytest.approx((first + second) / 2, abs=0.003)


def test_labels_follow_from_what_matters() -> None:
    data = SyntheticTable("syn4", count=4000)
    rows = data.items("train", False)
    p = torch.sigmoid(-data.score(rows.inputs))
    assert (rows.targets - p).mean().abs() < 0.03
    switched = rows.inputs[:, 10] < 0
    assert rows.regions[switched, 0].sum(0).nonzero()[:, 0].tolist() == [0, 1]
    assert rows.regions[~switched, 0].sum(0).nonzero()[:, 0].tolist() == [2, 3, 4, 5]
    assert bool((rows.regions[:, 1, 10] == 1).all()) and rows.regions[:, 1].sum() == 4000
    other = rows.inputs.clone()
    other[rows.regions.amax(1) == 0] = 9.0  # all that does not matter
    assert data.score(other).equal(data.score(rows.inputs))


def test_switch_holds_no_copies() -> None:
    rows = SyntheticTable("switch", count=3000).items("train", False)
    assert not bool((rows.inputs[:, :4] == rows.inputs[:, 4:8]).any())
    high = rows.inputs[:, 9] > 0
    assert 0.45 < high.double().mean() < 0.55 and rows.inputs[high, 9].mean() == pytest.approx(3, abs=0.1)
    assert rows.regions[high, 0, :4].mean() > 0.99 and rows.regions[~high, 0, 4:8].mean() > 0.99


def test_monks_by_their_rules() -> None:
    rules = {
        "monk1": lambda a: a[0] == a[1] or a[4] == 1,
        "monk2": lambda a: sum(v == 1 for v in a) == 2,
        "monk3": lambda a: (a[4] == 3 and a[3] == 1) or (a[4] != 4 and a[1] != 3),
    }
    every = list(product(*(range(1, size + 1) for size in SIZES)))
    for name, rule in rules.items():
        data = RuleTable(name)
        test = data.items("test", False)
        assert (
            test.targets.tolist() == [int(rule(a)) for a in every] and len(data.items("train", True)) == MONKS[name][1]
        )
        ends = np.cumsum((0, *SIZES))
        for row, needed, label in zip(every, test.regions[:, 0].bool(), test.targets.tolist(), strict=True):
            fixed = [bool(needed[ends[a]]) for a in range(6)]  # the label follows from what matters alone
            free = product(*([v] if f else range(1, s + 1) for v, f, s in zip(row, fixed, SIZES, strict=True)))
            assert {int(rule(a)) for a in free} == {label}, (name, row)
    noisy = RuleTable("monk3")
    test = noisy.items("test", False)
    clean = {tuple(x): y for x, y in zip(test.inputs.tolist(), test.targets.tolist(), strict=True)}
    train = noisy.items("train", True)
    wrong = sum(clean[tuple(x)] != y for x, y in zip(train.inputs.tolist(), train.targets.tolist(), strict=True))
    assert wrong == 6  # 5 % of 122
    val = {tuple(x) for x in noisy.items("val", False).inputs.tolist()}
    assert not val & {tuple(x) for x in train.inputs.tolist()}


def test_dnf_regions_decide_the_label() -> None:
    data = RuleTable("dnf", terms=4, width=3, bits=10, **SMALL)
    rows = data.items("test", False)
    every = torch.tensor(list(product((0, 1), repeat=10)))
    table = torch.stack([satisfied(every, term) for term in data.formula], 1).any(1)
    for x, region, label in zip(rows.inputs.long(), rows.regions[:, 0].bool(), rows.targets.tolist(), strict=True):
        alike = (every[:, region] == x[region]).all(1)
        assert table[alike].unique().tolist() == [bool(label)]
        if not label:  # no smaller set will do
            false = [{b for b, v in term if bool(x[b]) != v} for term in data.formula]
            assert not any(all(one & set(c) for one in false)
                           for c in product(range(10), repeat=max(int(region.sum()) - 1, 0)))  # fmt: skip
    assert 0.35 < rows.targets.double().mean() < 0.75
    assert falsifiers([0, 0, 1], [frozenset({(0, True), (2, True)}), frozenset({(0, True)})]) == (0,)


def test_recovery_of_rules() -> None:
    a, b = frozenset({(0, True), (1, True)}), frozenset({(2, False)})
    assert truth_table_agreement([a, b], [b, a], 3) == 1 and term_f1([a, b], [b, a]) == 1
    assert truth_table_agreement([a], [], 3) == 0.75 and term_f1([a], [a, b]) == pytest.approx(2 / 3)
    longer = [a | {(2, True)}, a | {(2, False)}]  # the same rule, written otherwise
    assert truth_table_agreement(longer, [a], 3) == 1 and term_f1(longer, [a]) == 0
    with pytest.raises(ValueError, match="a truth table of 21 bits is too long"):
        truth_table_agreement([a], [a], 21)


def test_series_are_as_described() -> None:
    noise = narma(400, 200, torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.277, abs=0.005) and noise.std().item() == pytest.approx(
        0.090, abs=0.003
    )
    rows = PlantedSeries("freq_shapes", count=2000).items("train", False)
    share = [rows.regions[rows.targets == c].mean().item() for c in range(4)]
    assert share[:2] == pytest.approx([0.21, 0.21], abs=0.015) and share[2:] == pytest.approx([0.145] * 2, abs=0.01)
    peak = (rows.inputs * rows.regions[:, 0]).flatten(1)
    assert peak[rows.targets % 2 == 1].amax(1).eq(2).all() and peak[rows.targets % 2 == 0].amin(1).eq(-2).all()
    low = PlantedSeries("lowvar", count=400).items("train", False)
    for c in range(4):
        inside = low.regions[low.targets == c, 0].bool()
        assert inside.any(1).any(0).tolist() == [c < 2, c >= 2]
        values = low.inputs[low.targets == c][inside]
        assert values.mean().item() == pytest.approx(-1.5 if c % 2 == 0 else 1.5, abs=0.02) and values.std() < 0.12
    pairs = PlantedSeries("seqcomb_mv", count=200).items("train", False)
    assert pairs.regions[:, 0].any(1).sum(1)[pairs.targets > 0].unique().tolist() == [2]  # two sensors
    assert not bool(pairs.regions[pairs.targets == 0].any())
    single = PlantedSeries("seqcomb_uv", count=200).items("train", False)
    regions, rise = single.regions[:, 0, :, 0].bool(), {1: [], 2: [], 3: []}
    for x, region, label in zip(single.inputs[..., 0], regions, single.targets.tolist(), strict=True):
        starts = (region & ~region.roll(1)).nonzero()[:, 0].tolist()
        assert len(starts) in ((0,) if label == 0 else (1, 2)) and int(region.sum()) <= 38
        if label:
            first = x[starts[0] : starts[0] + 10]
            rise[label].append((first[5:].mean() - first[:5].mean()).item())
    assert np.mean(rise[1]) < -0.5 and np.mean(rise[2]) > 0.5 and np.mean(rise[3]) > 0.5  # waves hide it in some


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SyntheticTable("syn9"), "no synthetic table named 'syn9'; did you mean 'syn"),
        (lambda: SyntheticTable(count=0), r"every split needs at least one row; got \(0, 1000, 10000\)"),
        (lambda: RuleTable("monk4"), "no table of rules named 'monk4'; did you mean 'monk"),
        (
            lambda: RuleTable("dnf", width=13),
            "expected 1 <= width <= bits <= 30 and 1 <= terms <= 20; got 13, 12 and 3",
        ),
        (lambda: RuleTable("monk1", val_count=400), "val_count must be at most 308, what is not to train on; got 400"),
        (lambda: PlantedSeries("low_var"), "no planted series named 'low_var'; did you mean 'lowvar'"),
    ],
)
def test_mistakes(make: type[World], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
