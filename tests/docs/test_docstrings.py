"""Every public name has a docstring, own or inherited, and documents arguments that exist."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import zoo

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(zoo.__path__, "zoo.")
    if not any(part.startswith("_") for part in found.name.split("."))
)
ARGUMENTS = re.compile(r"^Args:\n((?:[ ]{4}.*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (\S[^:\n]*?)(?: \([^)]*\))?:", re.MULTILINE)


def public_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes and functions that a module defines, and the methods and properties of these classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            yield from _members(name, value)
        elif inspect.isfunction(value):
            yield name, value


def _members(owner: str, cls: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        documented = inspect.isfunction(function) or isinstance(value, property) or hasattr(value, "attrname")
        if documented and not name.startswith("_"):
            yield f"{owner}.{name}", getattr(cls, name)


def test_public_names_are_documented() -> None:
    bare = []
    for name in MODULES:
        module = importlib.import_module(name)
        bare += [] if inspect.getdoc(module) else [name]
        for path, value in public_names(module):
            owner, _, member = path.rpartition(".")
            if inspect.isclass(value):  # a class has no base's docstring, and that of a bare dataclass is its signature
                documented = value.__doc__ and not value.__doc__.startswith(f"{value.__name__}(")
            else:
                documented = inspect.getdoc(value) or inherited(module, owner, member)
            bare += [] if documented else [f"{name}.{path}"]
    assert not bare, f"without a docstring: {', '.join(bare)}"


def inherited(module: ModuleType, owner: str, member: str) -> str | None:
    """The docstring of a method or property in a base class."""
    if not owner:
        return None
    for base in getattr(module, owner).__mro__[1:]:
        if member in vars(base) and (text := inspect.getdoc(getattr(base, member))):
            return text
    return None


def test_documented_arguments_exist() -> None:
    wrong = []
    for name in MODULES:
        for path, value in public_names(importlib.import_module(name)):
            if isinstance(value, property) or not callable(value):
                continue
            found = ARGUMENTS.search(inspect.cleandoc(value.__doc__ or "") + "\n")
            for entry in ENTRY.findall(found[1]) if found else ():
                known = inspect.signature(value).parameters
                names = [part.strip().lstrip("*") for part in entry.split(",")]
                wrong += [f"{name}.{path}: {part}" for part in names if part not in known]
    assert not wrong, f"no such argument: {'; '.join(wrong)}"
