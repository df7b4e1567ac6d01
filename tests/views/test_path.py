"""The drawn path of a decision tree."""

from tests.small_models import cbm, prototree
from zoo.views.path import path


def test_a_path_shows_each_prototype_on_it_in_order() -> None:
    small = prototree(routing="greedy")
    one = small.model.explain(small.inputs)[0]
    drawn = path(one)
    on_it = [unit.name for unit, turn in zip(one.units, one.details["turn"][0].tolist(), strict=True) if turn]
    assert drawn.count("<li") == len(on_it) == small.model.tree.depth
    places = [drawn.index(f"<bdi>{name}</bdi>") for name in on_it]
    assert places == sorted(places)
    kept = int(small.model.prototypes.alive.sum())
    assert kept < len(one.units) and f"Path: 3 of {kept} prototypes" in drawn  # pruned ones do not count
    assert drawn.count("class='present'") == int((one.details["turn"] > 0).sum())


def test_models_that_are_no_trees_have_none() -> None:
    small = cbm()
    assert path(small.model.explain(small.inputs)[0]) == ""
