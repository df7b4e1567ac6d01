"""Models by name."""

import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.core import registry
from zoo.core.lazy import lazy_names
from zoo.prototypes import ProtoPNet


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, registry.Entry]:
    """A registry of its own for the test."""
    own: dict[str, registry.Entry] = {}
    monkeypatch.setattr(registry, "_entries", own)
    monkeypatch.setattr(registry, "_classes", {})
    monkeypatch.setattr(registry, "_small", {})
    monkeypatch.setattr(registry, "_index", dict)
    return own


class Tree:
    """A tree of one leaf.

    It does nothing.
    """

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth


def test_registered_class_is_found_built_and_named(entries: dict[str, registry.Entry]) -> None:
    returned = registry.register("tree", modality=("image", "table"), paper="A (2020)")(Tree)
    assert returned is Tree
    expected = ("tree", "own", ("image", "table"), "A (2020)", "A tree of one leaf.", __name__, "Tree")
    assert entries["tree"] == registry.Entry(*expected) and entries["tree"].cls is Tree
    assert registry.find("tree") is entries["tree"]
    assert registry.create_model("tree", depth=5).depth == 5
    assert registry.name_of(Tree) == "tree"
    assert registry.small_of("tree") == registry.Small()


def test_one_modality_is_a_tuple_too(entries: dict[str, registry.Entry]) -> None:
    registry.register("tree", modality="image", paper="A (2020)")(Tree)
    assert entries["tree"].modality == ("image",)


def test_names_are_given_once(entries: dict[str, registry.Entry]) -> None:
    enter = registry.register("tree", modality="image", paper="A (2020)")
    enter(Tree)
    with pytest.raises(ValueError, match="the model name 'tree' is taken by Tree; give Oak another"):
        enter(type("Oak", (), {}))
    assert entries["tree"].cls is Tree
    with pytest.raises(ValueError, match="the model name 'protopnet' is taken by ProtoPNet; give Tree another"):
        registry.register("protopnet", modality="image", paper="A (2020)")(Tree)


def test_lists_are_ordered_by_family_and_name(entries: dict[str, registry.Entry]) -> None:
    for name, family in (("b-net", "trees"), ("a-net", "trees"), ("z-net", "concepts"), ("z-tree", "concepts")):
        made = type(name, (), {"__module__": f"zoo.{family}.{name}"})
        registry.register(name, modality="image", paper="")(made)
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
        assert entry.family and entry.paper and entry.summary[-1:] in (".", "?")
        assert set(entry.modality) <= {"image", "text", "code", "series", "table", "audio", "graph"} and entry.modality


def test_what_is_read_from_files_is_what_the_decorators_say() -> None:
    read = {entry.name: entry for entry in registry.entries()}
    assert all(entry.cls for entry in read.values())  # imports every file
    assert registry._entries == read


def test_listing_models_imports_none() -> None:
    code = "import sys, zoo.core.registry as r; print(len(r.entries())); print('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(zoo.list_models())), "False"]


def test_a_family_finds_its_models() -> None:
    import zoo.prototypes

    assert "ProtoPNet" in dir(zoo.prototypes) and zoo.prototypes.ProtoPNet is ProtoPNet
    with pytest.raises(AttributeError, match="no attribute 'ProtopNet'; did you mean 'ProtoPNet'"):
        zoo.prototypes.ProtopNet  # noqa: B018
    names: dict[str, object] = {}
    exec("from zoo.prototypes import *", names)
    assert names["ProtoPNet"] is ProtoPNet


def test_a_submodule_is_found_and_its_own_errors_are_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lazy_zoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("import no_such_library")
    (package / "fine.py").write_text("value = 3")
    monkeypatch.syspath_prepend(str(tmp_path))
    get, listing = lazy_names("lazy_zoo", lambda: {"value": "lazy_zoo.fine"})
    assert get("value") == 3 and get("fine").value == 3 and listing() == ["value"]
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        get("broken")
