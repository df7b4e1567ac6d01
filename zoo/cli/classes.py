"""The classes that a config may name, found by name without importing the others."""

import ast
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from zoo.core import registry
from zoo.data.registry import MODULES
from zoo.utils.errors import did_you_mean

ABSTRACT = ("DataModule", "ImageData")
BLACK_BOXES = {"BlackBox": "zoo.training.black_box", "BlackBoxPolicy": "zoo.training.black_box_policy"}


def models() -> dict[str, str]:
    """Name -> module of the classes that `model.class_path` may name."""
    return {e.class_name: e.module for e in registry.entries()} | BLACK_BOXES


def data_modules() -> dict[str, str]:
    """Name -> module of the classes that `data.class_path` may name."""
    return {name: module for name, module in MODULES.items() if name not in ABSTRACT}


def summary(module: str, name: str) -> str:
    """The first line of a class's docstring, read from the file of its module without importing it."""
    spec = find_spec(module.rpartition(".")[0])  # imports the packages above, which are empty
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / f"{module.rpartition('.')[2]}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").split("\n")[0]


def find_class(class_path: str, known: Mapping[str, str], where: str) -> type:
    """Imports the class that `class_place` finds.

    Raises:
        ValueError: there is no such class; the message names the nearest one.
    """
    module, name = class_place(class_path, known, where)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        if name in known:
            raise
        raise ValueError(f"{where} names the class '{class_path}', which cannot be imported ({error}).") from error


def class_place(class_path: str, known: Mapping[str, str], where: str) -> tuple[str, str]:
    """Module and name of a class of the zoo, given by its name or the key of the registry, or of any other class.

    The path of a class of the zoo counts by its last part, so that configs of earlier versions stay valid.

    Args:
        class_path: such as "ProtoPNet", "protopnet", "zoo.prototypes.ProtoPNet" or "my_package.MyModel".
        known: name -> module of the classes of the zoo.
        where: key of the config, for messages.

    Raises:
        ValueError: there is no such class; the message names the nearest one.
    """
    module, _, name = class_path.rpartition(".")
    if module and module.split(".")[0] != "zoo":
        return module, name
    if "BlackBox" in known and not module:
        name = {entry.name: entry.class_name for entry in registry.entries()}.get(name, name)
    if name not in known:
        raise ValueError(f"{where} names the class '{class_path}', which does not exist; {did_you_mean(name, known)}")
    return known[name], name
