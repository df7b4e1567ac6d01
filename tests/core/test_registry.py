"""Models by name."""

import pytest

import zoo
from zoo.core import registry
from zoo.prototypes import ProtoPNet


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, registry.Entry]:
    """A registry of its own for the test."""
    registry.entries()  # now, or the models of the zoo would enter this one
    own: dict[str, registry.Entry] = {}
    monkeypatch.setattr(registry, "_entries", own)
    return own


class Tree:
    def __init__(self, depth: int = 3) -> None:
        self.depth = depth


def test_registered_class_is_found_built_and_named(entries: dict[str, registry.Entry]) -> None:
    returned = registry.register("tree", family="trees", modality=("image", "table"), paper="A (2020)")(Tree)
    assert returned is Tree
    assert entries["tree"] == registry.Entry("tree", Tree, "trees", ("image", "table"), "A (2020)")
    assert registry.find("tree") is entries["tree"]
    assert registry.create_model("tree", depth=5).depth == 5
    assert registry.name_of(Tree) == "tree"


def test_one_modality_is_a_tuple_too(entries: dict[str, registry.Entry]) -> None:
    registry.register("tree", family="trees", modality="image", paper="A (2020)")(Tree)
    assert entries["tree"].modality == ("image",)


def test_names_are_given_once(entries: dict[str, registry.Entry]) -> None:
    enter = registry.register("tree", family="trees", modality="image", paper="A (2020)")
    enter(Tree)
    with pytest.raises(ValueError, match="the model name 'tree' is taken by Tree; give Oak another"):
        enter(type("Oak", (), {}))
    assert entries["tree"].cls is Tree


def test_lists_are_ordered_by_family_and_name(entries: dict[str, registry.Entry]) -> None:
    for name, family in (("b-net", "trees"), ("a-net", "trees"), ("z-net", "concepts"), ("z-tree", "concepts")):
        registry.register(name, family=family, modality="image", paper="")(type(name, (), {}))
    assert registry.list_models() == ["z-net", "z-tree", "a-net", "b-net"]
    assert registry.list_models("*-net") == ["z-net", "a-net", "b-net"]
    assert registry.list_models(family="trees") == ["a-net", "b-net"]
    assert registry.list_models("z*", family="trees") == []
    assert [entry.family for entry in registry.entries("?-net")] == ["concepts", "trees", "trees"]


@pytest.mark.parametrize("name", ["protopnt", "ProtoPNet", "protopnet-"])
def test_unknown_name_says_which_was_meant(name: str) -> None:
    with pytest.raises(ValueError, match=rf"no model named '{name}'; did you mean 'protopnet'\?.*list models"):
        zoo.create_model(name)


def test_unlike_name_points_to_the_list() -> None:
    count = len(zoo.list_models())
    with pytest.raises(
        ValueError,
        match=rf"no model named 'xyz'; there are: .*botcl.*`python train.py list models` shows all {count}",
    ):
        registry.find("xyz")


def test_class_without_entry_is_told_how_to_get_one() -> None:
    with pytest.raises(ValueError, match="Tree is not a registered model; decorate it with @register"):
        registry.name_of(Tree)
    with pytest.raises(ValueError, match="Sub is not a registered model"):  # a subclass has no name of its own
        registry.name_of(type("Sub", (ProtoPNet,), {}))


def test_every_entry_is_complete() -> None:
    for entry in registry.entries():
        assert entry.name == entry.name.lower()
        assert entry.family and entry.paper
        assert set(entry.modality) <= {"image", "text", "code", "series", "table"} and entry.modality
        assert entry.family in entry.cls.__module__
