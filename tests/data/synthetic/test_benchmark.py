"""The promises of every synthetic benchmark of tables and series."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import PlantedSeries, RuleTable, SwitchingSeries, SyntheticTable
from zoo.data.synthetic.arrays import EvidenceRows, balanced
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.planted_shapes import KINDS
from zoo.data.synthetic.table_tasks import TASKS
from zoo.domain import Domain

SMALL = {"count": 60, "test_count": 20}
BENCHMARKS = {
    **{name: (SyntheticTable, {"name": name, **SMALL}) for name in TASKS},
    **{name: (RuleTable, {"name": name}) for name in ("monk1", "monk2", "monk3")},
    "dnf": (RuleTable, {"name": "dnf", **SMALL}),
    **{name: (PlantedSeries, {"name": name, "val_count": 12, **SMALL}) for name in KINDS},
    "switching": (SwitchingSeries, SMALL),
}


def benchmark(name: str, **other: int) -> SyntheticBenchmark:
    kind, arguments = BENCHMARKS[name]
    return kind(**{**arguments, **other})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_items_fit_the_domain(name: str) -> None:
    data = benchmark(name, batch_size=16)
    domain = Domain.from_dict(data.domain)
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        batch = next(iter(loader))
        count = min(16, data.counts[split])
        assert batch["input"].shape == (count, *domain.shape) and bool(batch["input"].isfinite().all())
        assert batch["target"].max() < len(domain.classes) and batch["target"].dtype == torch.long
        assert batch["regions"].shape == (count, len(data.factors), *domain.shape)
        assert batch["regions"].dtype == torch.float and batch["regions"].unique().tolist() == [0, 1]
    for split, count in data.counts.items():
        items = data.items(split, False)
        assert len(items) == count == len({items.name(i) for i in range(count)})
    assert 0.5 < data.ceiling <= 1


@pytest.mark.parametrize("name", BENCHMARKS)
def test_splits_follow_from_the_seed_and_differ(name: str) -> None:
    first, again, other = benchmark(name), benchmark(name), benchmark(name, seed=1)
    for split in first.counts:
        a, b, c = (data.items(split, False) for data in (first, again, other))
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)
        assert torch.equal(a.regions, b.regions) and torch.equal(a.replacement, b.replacement)
        assert not torch.equal(a.replacement, c.replacement)
        assert not torch.equal(a.inputs, c.inputs) or (name.startswith("monk") and split == "test")
    shared = min(first.counts.values())
    heads = [first.items(split, False).inputs[:shared] for split in first.counts]
    assert not any(torch.equal(heads[i], heads[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_removed_factor_changes_its_elements_alone(name: str, split: str) -> None:
    data = benchmark(name)
    items, rows = data.items(split, False), [3, 0, 11, 3]
    rows = [row % data.counts[split] for row in rows]
    whole = data.interventions(split, rows, ())
    assert torch.equal(whole, items.inputs[rows]) and torch.equal(
        data.interventions(split, torch.tensor(rows), []), whole
    )
    for r, factor in enumerate(data.factors):
        places, found = items.changed[rows, r].bool(), data.interventions(split, rows, [factor])
        assert torch.equal(found[~places], whole[~places]) and torch.equal(
            found[places], items.replacement[rows][places]
        )
        assert torch.equal(data.interventions(split, rows, factor), found)
        assert bool((items.changed >= items.regions).all())


@given(st.integers(1, 5), st.integers(1, 3), st.sets(st.integers(0, 2)), st.integers(0, 99))
def test_places_of_all_factors_named_change_and_no_other(count: int, factors: int, chosen: set[int], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, spare = torch.randn(2, count, 4, generator=draw)
    regions = torch.randint(2, (count, factors, 4), generator=draw).float()
    wanted = [f for f in sorted(chosen) if f < factors]
    names = [f"factor {f}" for f in range(factors)]
    items = EvidenceRows(x, torch.zeros(count), ["row"] * count, regions, names, spare)
    found = items.without(list(range(count)), [names[f] for f in wanted])
    for i in range(count):
        for j in range(4):
            gone = any(regions[i, f, j] for f in wanted)
            assert found[i, j] == (spare if gone else x)[i, j]


def test_what_cannot_be_removed() -> None:
    data = benchmark("syn4")
    with pytest.raises(ValueError, match=r"no removable factor named 'brunch'; did you mean 'branch'\?"):
        data.interventions("test", [0], ["brunch"])
    with pytest.raises(ValueError, match=r"split must be one of train, val, test; got 'tests'. Did you mean 'test'\?"):
        data.interventions("tests", [0], [])
    with pytest.raises(ValueError, match="split 'test' has rows 0 to 19; got 20"):
        data.interventions("test", [20], [])
    with pytest.raises(ValueError, match="rows must name at least one item; got none"):
        data.interventions("test", [], [])


def test_what_a_benchmark_defines() -> None:
    data = SyntheticBenchmark()
    with pytest.raises(NotImplementedError, match=r"a synthetic benchmark defines draw\(\)"):
        data.draw("train", 1, torch.Generator())
    with pytest.raises(NotImplementedError, match="a synthetic benchmark defines counts"):
        _ = data.counts


def test_classes_are_balanced() -> None:
    labels = balanced(11, 4, torch.Generator().manual_seed(0))
    assert sorted(labels.bincount().tolist()) == [2, 3, 3, 3] and labels.tolist() != sorted(labels.tolist())
