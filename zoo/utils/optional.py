"""Optional dependencies, imported when they are used."""

from importlib import import_module
from typing import Any


def need(module: str, extra: str) -> Any:
    """Imports a module of an optional dependency.

    Args:
        module: to import.
        extra: of this package that installs it.

    Raises:
        ImportError: it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # it is installed, but a dependency of its own is missing
            raise
        raise ImportError(
            f"this needs the library '{error.name}', which is not installed: "
            f"pip install self-interpretable-zoo[{extra}]"
        ) from error
