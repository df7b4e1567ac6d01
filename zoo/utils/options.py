"""Groups of constructor arguments: frozen dataclasses, which YAML and checkpoints give as plain mappings."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.utils.errors import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def parse_options(kind: type[T], given: T | Mapping[str, Any] | None, name: str) -> T:
    """Reads a group of options from plain data.

    Args:
        kind: the dataclass; every field has a default.
        given: an object of it, a mapping of some of its fields, or None for the defaults.
        name: of the argument, for error messages.

    Raises:
        ValueError: not a mapping, or an unknown field; the message names the nearest one.
    """
    if isinstance(given, kind):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"{name} must be a mapping of options; got {given!r}.")
    known = [f.name for f in fields(kind)]
    for key in given or {}:
        if key not in known:
            raise ValueError(f"{name} has no option '{key}'; {did_you_mean(key, known)}")
    return kind(**(given or {}))


def fold_options(arguments: Mapping[str, Any], places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Moves arguments that an older version took one by one into groups of options.

    Args:
        arguments: of a constructor.
        places: for each old argument the group and the field that it has now.
    """
    folded = {name: value for name, value in arguments.items() if name not in places}
    for old, (group, field) in places.items():
        if old in arguments:
            folded[group] = {**(folded.get(group) or {}), field: arguments[old]}
    return folded
