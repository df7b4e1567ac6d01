"""Libraries that only some users need: optional extras of the package, imported when they are used."""

from importlib import import_module
from typing import Any


def need(module: str, extra: str) -> Any:
    """The module, which the optional extra of this package brings.

    Raises:
        ImportError: it is not installed; the message tells how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # the library is there, and lacks something itself
            raise
        raise ImportError(
            f"this needs the library '{module}', which is not installed: pip install self-interpretable-zoo[{extra}]"
        ) from error
