"""The MONK's problems as their authors state them, and random rules."""

from itertools import product

import pytest
import torch

from zoo.data import RuleTable
from zoo.data.synthetic.formulas import term_f1, truth_table_agreement

ROWS = list(product((1, 2, 3), (1, 2, 3), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2)))  # a1, ..., a6
STATED = {
    "monk1": lambda a: a[0] == a[1] or a[4] == 1,
    "monk2": lambda a: sum(value == 1 for value in a) == 2,
    "monk3": lambda a: (a[4] == 3 and a[3] == 1) or (a[4] != 4 and a[1] != 3),
}
POSITIVE = {"monk1": 216, "monk2": 142, "monk3": 228}  # of 432, as published
TRAINED = {"monk1": 124, "monk2": 169, "monk3": 122}
BLOCKS = (3, 3, 2, 3, 4, 2)


@pytest.mark.parametrize("name", STATED)
def test_monks_problems(name: str) -> None:
    data = RuleTable(name)
    items, names = data.items("test", False), data.domain["features"]
    assert torch.equal(items.inputs, data.every_input)
    for row, values in zip(items.inputs, ROWS, strict=True):
        assert {names[i] for i in row.nonzero().flatten()} == {f"a{a} is {v}" for a, v in enumerate(values, 1)}
    assert items.targets.tolist() == [STATED[name](values) for values in ROWS]
    assert int(items.targets.sum()) == POSITIVE[name] == round(432 * data.prevalence)
    assert truth_table_agreement(data.formula, lambda _: items.targets, data.every_input) == data.ceiling == 1


@pytest.mark.parametrize("name", STATED)
def test_rows_to_train_on(name: str) -> None:
    data = RuleTable(name, seed=4)
    train, val = (data.items(split, False) for split in ("train", "val"))
    rows = torch.cat([train.inputs, val.inputs])
    assert len(rows) == len(rows.unique(dim=0)) == TRAINED[name] and len(val) in (12, 13, 17)
    wrong = data.formula(rows) != torch.cat([train.targets, val.targets])
    assert int(wrong.sum()) == (6 if name == "monk3" else 0)
    shares = [float(part.targets.float().mean()) for part in (train, val)]
    assert shares[0] == pytest.approx(shares[1], abs=0.06)


def test_evidence_of_monk1() -> None:
    data = RuleTable("monk1")
    items, names = data.items("test", False), data.domain["features"]

    def shown(*values: int) -> set[str]:
        return {names[i] for i in items.regions[ROWS.index(values), 0].nonzero().flatten()}

    assert shown(2, 2, 1, 1, 3, 1) == {"a1 is 2", "a2 is 2"}
    assert shown(1, 2, 1, 1, 1, 1) == {"a5 is 1"}
    assert shown(3, 3, 1, 1, 1, 1) == {"a1 is 3", "a2 is 3", "a5 is 1"}
    # The third term can be falsified by either attribute: the lower one is shown.
    assert shown(1, 2, 1, 1, 3, 1) == {"a2 is 1", "a1 is 2", "a1 is 3", "a5 is 1"}


def test_evidence_of_monk2_counts_ones() -> None:
    """Two: all six matter. Three or more: three that are. One or none: five columns, all that are not."""
    items = RuleTable("monk2").items("test", False)
    sizes = items.regions.sum((1, 2)).tolist()
    for values, size in zip(ROWS, sizes, strict=True):
        ones = sum(value == 1 for value in values)
        assert size == (6 if ones == 2 else 3 if ones > 2 else 5)


@pytest.mark.parametrize("name", STATED)
def test_attributes_are_drawn_again_as_a_whole(name: str) -> None:
    data = RuleTable(name)
    found = data.interventions("test", range(432), ["rule"])
    assert all(bool((block.sum(1) == 1).all()) for block in found.split(BLOCKS, 1))
    regions = data.items("test", False).regions[:, 0]
    before = data.every_input
    parts = zip(*(x.split(BLOCKS, 1) for x in (found, before, regions)), strict=True)
    for new, old, region in parts:
        touched = region.any(1)
        assert torch.equal(new[~touched], old[~touched])
        if bool(touched.any()):
            share = float((new[touched] == old[touched]).all(1).float().mean())
            assert share == pytest.approx(1 / new.shape[1], abs=0.2)


def test_a_random_rule() -> None:
    data = RuleTable("dnf", count=4000, test_count=4000, terms=4, width=2, bits=10, irrelevant=3, seed=2)
    assert len(data.formula.terms) == 4 and all(len(term) == 2 for term in data.formula.terms)
    used = {name for term in data.formula.terms for name, _ in term}
    assert len(used) <= 7 and data.truth == str(data.formula)
    assert data.every_input.shape == (1024, 10) == tuple(data.every_input.unique(dim=0).shape)
    for split in ("train", "test"):
        items = data.items(split, False)
        assert torch.equal(items.targets.bool(), data.formula(items.inputs))
        assert float(items.targets.float().mean()) == pytest.approx(data.prevalence, abs=0.03)
        assert (items.inputs.mean(0) - 0.5).abs().max() < 0.03
        assert {data.domain["features"][i] for i in items.regions.any(0)[0].nonzero().flatten()} == used
    assert data.counts == {"train": 3600, "val": 400, "test": 4000}
    assert term_f1(data.formula.terms, RuleTable("dnf", 20, 1, 4, 2, 10, 3, seed=2).formula.terms) == 1
    assert RuleTable("dnf", seed=3).truth != RuleTable("dnf", seed=4).truth


def test_prevalence_of_one_term() -> None:
    assert RuleTable("dnf", terms=1, width=3).prevalence == 1 / 8


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(
        ValueError, match=r"name must be one of monk1, monk2, monk3, dnf; got 'monk'\. Did you mean 'monk3'\?"
    ):
        RuleTable("monk")
    with pytest.raises(ValueError, match="count must be at least 10; got 5"):
        RuleTable("dnf", 5, 1)
    with pytest.raises(ValueError, match="expected 1 <= bits <= 20 and 0 <= irrelevant < bits; got 21 and 4"):
        RuleTable("dnf", bits=21)
    with pytest.raises(ValueError, match="2 features make 0 different terms of width 3; got terms 3"):
        RuleTable("dnf", bits=6)
