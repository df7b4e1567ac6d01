"""Packages whose names are imported when they are asked for."""

import ast
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from zoo.core.registry import classes_of
from zoo.utils.errors import did_you_mean


def lazy_names(
    package: str, names: Callable[[], Mapping[str, str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports a name when it is asked for.

    Args:
        package: its `__name__`.
        names: gives name -> module that defines it.
    """

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(names())
        if name.startswith("__"):  # what Python itself asks a package for
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        if name in names():
            return getattr(import_module(names()[name]), name)
        try:  # a submodule that is not imported yet
            return import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise
        raise AttributeError(f"module '{package}' has no attribute '{name}'; {did_you_mean(name, names())}")

    return get, lambda: sorted(names())


@cache
def type_checking_imports(file: str) -> dict[str, str]:
    """Name -> module for the imports in the `if TYPE_CHECKING:` block of a file, so that names are listed only once."""
    blocks = [
        node
        for node in ast.parse(Path(file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: str(node.module) for node in imports for alias in node.names}


def lazy_family(
    package: str, others: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a family of models, which finds its models by itself.

    Args:
        package: its `__name__`.
        others: further public names -> module that defines them, relative to the package.
    """
    more = {name: f"{package}.{module}" for name, module in (others or {}).items()}
    return lazy_names(package, lambda: {**classes_of(package.rpartition(".")[2]), **more})
