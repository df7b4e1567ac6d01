"""Values of a config, checked against the type annotations of the constructor that takes them."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from zoo.cli.config import Override, load_yaml, resolve
from zoo.utils.errors import did_you_mean
from zoo.utils.signatures import init_parameters


def parameters(cls: type) -> dict[str, Any]:
    """Name -> annotation of the arguments of a class, followed through `**kwargs` into its parents."""
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            hints = get_type_hints(base.__init__) | hints
    return {name: hints.get(name, Any) for name in init_parameters(cls)}


def check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Checks that all keys of a mapping are known.

    Raises:
        ValueError: names the key, its place and the nearest known key.
    """
    names = list(known)
    for key, value in given.items():
        if key not in names:
            raise ValueError(f"{place(where, value)} has no key '{key}'; {did_you_mean(key, names)}")


def convert(annotation: Any, value: Any, where: str) -> Any:
    """A value as the type that an annotation asks for.

    Args:
        annotation: a type.
        value: plain data of a config, or an `Override`, whose text is read as that type.
        where: key of the config, for messages.

    Returns:
        plain data still where the type is a class: a mapping, or class_path and init_args as a namespace.

    Raises:
        ValueError: it has another type.
    """
    if (inner := dataclass_of(annotation)) is not None:
        return convert_fields(inner, value, where)
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=annotation)
    except ValueError:  # not a type that can be checked
        return resolve(value)
    given = str(value) if isinstance(value, Override) else resolve(value)
    try:
        return parser.parse_object({"value": given}).value
    except ArgumentError as error:
        raise ValueError(f"{place(where, value)} must be {type_name(annotation)}; got {given!r}.") from error


def convert_fields(cls: type, value: Any, where: str) -> Any:
    """A mapping, or a list of mappings, whose values have the types of the fields of a dataclass."""
    if isinstance(value, Override):
        where, value = place(where, value), load_yaml(value)
    if isinstance(value, list | tuple):
        return [convert_fields(cls, item, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value  # what reads it has an example for the message
    known = parameters(cls)
    check_keys(value, known, where)
    return {key: convert(known[key], inner, f"{where}.{key}") for key, inner in value.items()}


def dataclass_of(annotation: Any) -> type | None:
    """The dataclass that an annotation is or holds, such as Stage of `tuple[Stage, ...] | None`."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation
    return next((inner for t in get_args(annotation) if (inner := dataclass_of(t)) is not None), None)


def type_name(annotation: Any) -> str:
    """An annotation as text for messages: `Optional[int]` is "int or null"."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(type_name, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return " or ".join(f"'{value}'" for value in get_args(annotation))
    if annotation in (None, type(None)):
        return "null"
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(annotation))


def place(where: str, value: Any) -> str:
    """The place of a value for messages: the command line, if it was given there, in place of the file."""
    given = any(isinstance(v, Override) for v in (value if isinstance(value, list) else [value]))
    return f"command line: {where.partition(': ')[2]}" if given else where
