"""Code of the user, imported because the user named it, on the command line or in a program."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from zoo.utils.errors import did_you_mean


class Code(NamedTuple):
    """What the user named.

    Attributes:
        name: under which checkpoints know it, such as "my_network.py:make": without the folder of the file.
        function: None where only a module was named.
    """

    name: str
    function: Callable[..., Any] | None


def import_code(text: str) -> Code:
    """Imports a file or a module.

    Args:
        text: FILE.py or PACKAGE.MODULE, with `:FUNCTION` or without.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such function.
        ImportError: there is no such module, or it cannot be imported.
    """
    place, _, function = text.partition(":")
    path = Path(place)
    is_file = path.suffix == ".py" or len(path.parts) > 1
    with searched(path.parent if is_file else Path()):
        module = _import_file(path) if is_file else _import_module(place)
    name = f"{path.name if is_file else place}:{function}" if function else place
    if not function:
        return Code(name, None)
    found = getattr(module, function, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"{place} has no function '{function}'; {did_you_mean(function, known)}")
    return Code(name, found)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a file of Python code; its name must end in .py.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"cannot import '{name}' ({error}); give PACKAGE.MODULE or FILE.py.") from error


@contextmanager
def searched(folder: Path) -> Iterator[None]:
    """Imports also find the modules in a folder."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)
