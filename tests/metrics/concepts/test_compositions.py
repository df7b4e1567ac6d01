"""Compositions of attributes: planted logic is found, counts are those of brute force, and chance is told."""

import itertools
import json

import pytest
import torch
from torch import Tensor

from tests.small_models import cbm
from zoo.core.unit_names import UnitName, UnitNames, read_names
from zoo.metrics.concepts.compositions import Compositions, compose, intersection_over_union
from zoo.metrics.concepts.unit_names import Observed, dealt, described, thresholds

NAMES = ["red", "round", "large", "striped", "old", "wet"]


def random_attributes(rows: int = 600, count: int = 6, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, count, generator=draw) < torch.linspace(0.2, 0.5, count)


def planted(a: Tensor) -> Tensor:
    """Units (N, 6) that follow attributes exactly."""
    red, round_, large, _, old, wet = a.T
    pairs = [round_, red | wet, large & ~old]
    return torch.stack([*pairs, (old & wet) | red, (round_ | old) & ~wet, ~wet & ~old], 1)


def test_planted_logic_is_found() -> None:
    a = random_attributes()
    fired = planted(a)
    found = compose(fired, a)
    assert found.iou.tolist() == [1.0] * fired.shape[1]
    assert torch.equal(found.holds(a), fired)
    texts = found.texts(NAMES)
    assert texts[0] == "round" and set(texts[1].split(" OR ")) == {"red", "wet"}
    assert texts[2] == "large AND NOT old" or texts[2] == "NOT old AND large"
    fresh = random_attributes(seed=1)
    assert torch.equal(found.holds(fresh), planted(fresh))
    plain = compose(fired, a, length=1)
    assert plain.terms.shape == (6, 1) and float(plain.iou[3]) < 0.9


def test_the_best_pair_is_that_of_brute_force() -> None:
    """Every formula of two attributes, counted one by one; the beam is wide enough to keep all beginnings."""
    a = random_attributes(80, 4)
    fired = torch.rand(80, 5, generator=torch.Generator().manual_seed(2)) < 0.3
    found = compose(fired, a, length=2, beam=8, gain=0.0)
    literals = [*a.T, *~a.T]
    pairs = [f(x, y) for x, y in itertools.product(literals, literals) for f in (torch.logical_and, torch.logical_or)]
    for u in range(5):
        best = max(float((fired[:, u] & mask).sum() / (fired[:, u] | mask).sum()) for mask in [*literals, *pairs])
        assert float(found.iou[u]) == pytest.approx(best)
    torch.testing.assert_close(intersection_over_union(fired, found.holds(a)), found.iou)
    shorter = compose(fired, a, length=2, beam=8, gain=1.0)
    assert (shorter.terms[:, 1] == -1).all() and (shorter.iou <= found.iou).all()


def test_blocks_of_units_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    a = random_attributes(100)
    fired = torch.rand(100, 7, generator=torch.Generator().manual_seed(3)) < 0.3
    whole = compose(fired, a)
    monkeypatch.setattr("zoo.metrics.concepts.compositions.MEMORY", 2100)
    parts = compose(fired, a)
    assert torch.equal(whole.terms, parts.terms) and torch.equal(whole.iou, parts.iou)


def test_edges() -> None:
    a = random_attributes(50)
    silent = torch.zeros(50, 1, dtype=torch.bool)
    found = compose(silent, a)
    assert found.texts(NAMES) == [""] and not found.holds(a).any() and float(found.iou) == 0
    constant = compose(a[:, :1], torch.ones(50, 2, dtype=torch.bool))
    assert constant.texts(["x", "y"]) == [""]
    one = compose(a[:, :1], a[:, :1])
    assert one.texts(NAMES) == ["red"]
    assert Compositions(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]]), torch.ones(1)).texts(NAMES) == [
        "NOT red OR round OR NOT large"
    ]
    for fired, attributes, message in (
        (a.float(), a, "fired must be bool"),
        (a, a[:, 0], "attributes must be bool"),
        (a[:10], a, "the same 1 to"),
        (a[:0], a[:0], "the same 1 to"),
    ):
        with pytest.raises(ValueError, match=message):
            compose(fired, attributes)
    with pytest.raises(ValueError, match="length must be at least 1"):
        compose(a, a, length=0)


def test_a_unit_fires_in_a_share_of_the_rows_and_never_at_its_least_value() -> None:
    activation = torch.stack([torch.arange(10.0), torch.ones(10), torch.tensor([0.0] * 9 + [5])], 1)
    fired = activation > thresholds(activation, 0.3)
    assert fired.sum(0).tolist() == [2, 0, 1]


def test_cells_of_an_input_are_dealt_together() -> None:
    attributes = torch.arange(12).view(12, 1)
    moved = dealt(Observed(torch.zeros(12, 1), attributes, 4), 0).view(4, 3)
    assert (moved[:, 1:] - moved[:, :1] == torch.tensor([1, 2])).all()
    assert moved[:, 0].sort().values.tolist() == [0, 3, 6, 9]


def test_names_that_chance_explains_are_not_used(tmp_path) -> None:
    """A unit that follows an attribute is named, one of noise is not; the file keeps both."""
    a, fresh = random_attributes(), random_attributes(seed=5)
    noise = [torch.rand(600, generator=torch.Generator().manual_seed(s)) < 0.1 for s in (7, 8)]
    fired = torch.stack([a[:, 0] & a[:, 2], noise[0]], 1)
    found = compose(fired, a)
    chance = compose(fired, a[torch.randperm(600, generator=torch.Generator().manual_seed(9))]).iou
    other = Observed(torch.zeros(600, 2), fresh, 600)
    again = torch.stack([fresh[:, 0] & fresh[:, 2], noise[1]], 1)
    units = cbm().model.units()[:2]
    own = [unit.name for unit in units]
    names = UnitNames(tuple(described(own, found, NAMES, chance, torch.zeros(2), again, other)), {"source": "test"})
    first, second = names.names
    assert first.credible and first.held_out == 1 and first.both == first.fires == first.holds == int(again[:, 0].sum())
    assert not second.credible and second.iou > 0
    used = names.units(units)
    assert used[0].name == f"{first.formula} ({own[0]})" and used[1].name == own[1]
    assert used[0].source["named"]["iou"] == 1.0 and used[0].kind == units[0].kind
    names.write(tmp_path / "names.json")
    assert read_names(tmp_path / "names.json") == names
    with pytest.raises(ValueError, match="names are of 2 units of another model, which has no unit"):
        names.units(cbm().model.units())
    plain = json.loads((tmp_path / "names.json").read_text())
    for change, message in (
        ({"format": "other"}, "its format is 'other'"),
        ({"units": [{**plain["units"][0], "iou": "high"}]}, "could not convert"),
        ({"units": [{**plain["units"][0], "unit": 3}]}, "'unit' must be str, got 3"),
        ({"units": [{"unit": "x"}]}, "a unit must have unit, formula"),
        ({"about": 3}, "is not a file of"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**plain, **change}))
        with pytest.raises(ValueError, match=message):
            read_names(tmp_path / "bad.json")
    assert isinstance(first, UnitName)
