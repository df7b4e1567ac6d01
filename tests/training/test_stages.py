"""Recipes: what is refused, and what each epoch of a recipe is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.training.stages import Position, Stage, check_groups, parse_stages, stage_at, total_epochs, with_epochs

TRAIN = {"name": "train", "epochs": 2, "train": ["head"]}
REPEATED = [
    {"name": "warm", "epochs": 2, "train": ["addon"]},
    {"name": "joint", "epochs": 3, "train": ["backbone", "addon"]},
    {"name": "push"},
    {"name": "last", "epochs": 1, "train": ["head"]},
    {"name": "joint", "epochs": 1, "train": ["backbone", "addon"]},
    {"name": "push"},
    {"name": "prune"},
    {"name": "last", "epochs": 2, "train": ["head"]},
]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ([], "the recipe has no stages; give at least one with epochs"),
        ([{**TRAIN, "epoch": 3}], "a stage has no key 'epoch'; did you mean 'epochs'\\?$"),
        (
            [{**TRAIN, "zzz": 3}],
            "there are: name, epochs, train, lr, decay_every, decay, cosine, masked, anneal, each_epoch, per_class",
        ),
        (["push"], "a stage is a mapping such as {name: push}; got 'push'"),
        ([None], "a stage is a mapping such as {name: push}; got None"),
        ([{"epochs": 3, "train": ["head"]}], "every stage needs a name; got {'epochs': 3"),
        ([{"name": "", "epochs": 3}], "every stage needs a name"),
        ([{**TRAIN, "epochs": -1}], "stage 'train' has epochs=-1; expected a whole number from 0"),
        ([{**TRAIN, "epochs": 1.5}], "stage 'train' has epochs=1.5; expected a whole number"),
        ([{**TRAIN, "epochs": "2"}], "stage 'train' has epochs='2'; expected a whole number"),
        ([{**TRAIN, "decay": 0}], "decay=0; expected decay_every >= 0 and 0 < decay <= 1"),
        ([{**TRAIN, "decay": 1.5}], "decay=1.5; expected"),
        ([{**TRAIN, "decay_every": -1}], "stage 'train' has decay_every=-1"),
        ([{"name": "train", "epochs": 2}], "stage 'train' lasts 2 epochs but trains no parameter group"),
        ([{**TRAIN, "train": "head"}], "stage 'train' must list its parameter groups, such as \\[head\\]; got 'head'"),
        ([TRAIN, {"name": "push", "train": ["head"]}], "it is an action and cannot train \\['head'\\]; give it epochs"),
        ([TRAIN, {"name": "push", "lr": {"head": 1.0}}], "stage 'push' has no epochs, so it is an action"),
        ([TRAIN, {"name": "push", "each_epoch": ["push"]}], "stage 'push' has each_epoch but no epochs"),
        ([{**TRAIN, "each_epoch": "push"}], "must list the actions of each epoch, such as \\[push\\]; got 'push'"),
        ([{"name": "push"}], "the recipe ends in the action 'push', which would never run"),
        ([TRAIN, {"name": "push"}], "the recipe ends in the action 'push', which would never run.*Add a stage"),
    ],
)
def test_recipe_that_cannot_be_right_is_refused(recipe: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_stages(recipe)


def test_plain_data_becomes_stages() -> None:
    entry = {"name": "joint", "epochs": 4, "train": ["a", "b"], "lr": {"a": 0.1}, "decay_every": 2, "decay": 0.5}
    assert parse_stages([entry]) == (Stage("joint", 4, ("a", "b"), {"a": 0.1}, 2, 0.5),)
    assert parse_stages([{**TRAIN, "lr": None}]) == (Stage("train", 2, ("head",)),)


def test_actions_of_each_epoch_come_after_those_of_the_stage() -> None:
    stages = parse_stages([{"name": "prune"}, {**TRAIN, "each_epoch": ["harden", "push"]}, TRAIN])
    found = [[action.name for action in stage_at(stages, epoch).actions] for epoch in range(4)]
    assert found == [["prune", "harden", "push"], ["harden", "push"], [], []]


def test_recipe_of_actions_ends_with_an_epoch_that_measures() -> None:
    stages = parse_stages([{"name": "project"}, {"name": "measure", "epochs": 1, "train": []}])
    assert total_epochs(stages) == 1 and stages[1].train == ()
    assert stage_at(stages, 0) == Position(stages[1], 0, (stages[0],))


def test_every_epoch_of_a_repeated_recipe() -> None:
    stages = parse_stages(REPEATED)
    assert total_epochs(stages) == 9
    expected = [
        ("warm", 0, []),
        ("warm", 1, []),
        ("joint", 0, []),
        ("joint", 1, []),
        ("joint", 2, []),
        ("last", 0, ["push"]),
        ("joint", 0, []),
        ("last", 0, ["push", "prune"]),
        ("last", 1, []),
        ("last", 2, []),  # past the end, the last stage goes on
        ("last", 3, []),
    ]
    for epoch, (name, within, actions) in enumerate(expected):
        position = stage_at(stages, epoch)
        found = (position.stage.name, position.epoch, [action.name for action in position.actions])
        assert found == (name, within, actions), f"epoch {epoch}"
    assert stage_at(stages, 5).stage is stages[3]
    assert stage_at(stages, 7).stage is stages[7]


def test_stage_objects_listed_twice_are_two_stages() -> None:
    """Regression: the first of two mentions of one `Stage` was taken for the last, and the recipe never went on."""
    train, last = Stage("train", 1, ("backbone",)), Stage("last", 1, ("head",))
    stages = parse_stages([train, Stage("push"), last] * 2)
    assert [stage_at(stages, e).stage.name for e in range(4)] == ["train", "last", "train", "last"]
    assert stage_at(stages, 1).stage is not stages[-1] and stage_at(stages, 3).stage is stages[-1]


def test_unparsed_recipe_that_ends_in_an_action_is_refused() -> None:
    with pytest.raises(ValueError, match="read it with parse_stages"):
        stage_at([Stage("train", 1, ("head",)), Stage("push")], 1)


def test_learning_rates_decay_in_steps() -> None:
    stage = Stage("joint", 7, ("head",), decay_every=3, decay=0.1)
    assert [stage.lr_factor(e) for e in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    assert [Stage("joint", 3, ("head",), decay=0.1).lr_factor(e) for e in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("key", [{"train": ["hed"]}, {"train": ["head"], "lr": {"hed": 1.0}}])
def test_unknown_parameter_group_is_named(key: dict[str, Any]) -> None:
    stages = parse_stages([{"name": "joint", "epochs": 1, **key}])
    message = "stage 'joint' trains 'hed', which is not a parameter group of ProtoPNet; groups: backbone, head."
    with pytest.raises(ValueError, match=message):
        check_groups(stages, ["backbone", "head"], "ProtoPNet")
    check_groups(stages, ["hed", "head"], "ProtoPNet")


lengths = st.tuples(st.integers(1, 4), st.lists(st.integers(0, 4), max_size=8), st.integers(1, 4))


@given(lengths)
def test_a_recipe_is_run_once_in_order(lengths: tuple[int, list[int], int]) -> None:
    epochs = [lengths[0], *lengths[1], lengths[2]]
    stages = parse_stages({"name": f"s{i}", "epochs": n, "train": ["head"] if n else []} for i, n in enumerate(epochs))
    assert total_epochs(stages) == sum(epochs)
    history: list[str] = []
    for epoch in range(total_epochs(stages)):
        position = stage_at(stages, epoch)
        assert 0 <= position.epoch < position.stage.epochs
        assert not position.actions or position.epoch == 0
        history += [action.name for action in position.actions] + [position.stage.name]
    assert history == [f"s{i}" for i, n in enumerate(epochs) for _ in range(max(n, 1))]


def test_another_number_of_epochs() -> None:
    stages = (Stage("a", 30, ("x",)), Stage("push"), Stage("b", 10, ("y",)), Stage("measure", 1))
    assert [stage.epochs for stage in with_epochs(stages, 8)] == [6, 0, 2, 1]
    assert [stage.epochs for stage in with_epochs(stages, 1)] == [1, 0, 1, 1]
    with pytest.raises(ValueError, match="1 or more; got 0"):
        with_epochs(stages, 0)


def test_rates_fall_along_a_cosine() -> None:
    (stage,) = parse_stages([{"name": "train", "epochs": 4, "train": ["head"], "cosine": True}])
    rates = [stage.lr_factor(epoch) for epoch in range(5)]
    assert rates == sorted(rates, reverse=True) and rates[1] + rates[2] == pytest.approx(1) and rates[4] == 0
    with pytest.raises(ValueError, match="both cosine and decay_every"):
        parse_stages([{"name": "a", "epochs": 1, "train": [], "cosine": True, "decay_every": 1}])
