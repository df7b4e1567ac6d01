"""YAML of plain data, read in bounded time and memory. Does not import torch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.utils.paths import check_file

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, if available, for long vocabularies
LARGEST = 2**25  # bytes of a file
NODES = 300_000  # values in a file, keys included
DEPTH = 50  # of nested lists and mappings
LONG = 50  # values of a list, such as a vocabulary, from which it is written without a line for each
DIGITS = 100  # characters of a number; converting more takes quadratic time
TAG = "tag:yaml.org,2002:"
BOOL = r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
INT = r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
SPECIAL = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
FLOAT = rf"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|{SPECIAL}"
LOOSE_FLOAT = (  # also 1e-3 and 1.0e3, which are texts in YAML 1.1
    rf"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    rf"|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|{SPECIAL}"
)


def resolvers(number: str) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Types of unquoted values by their first character, as the loaders of PyYAML have them.

    Dates, numbers of base 60 (1:30), which take quadratic time, and merge keys (<<) are texts.

    Args:
        number: expression of floating-point numbers.
    """
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    kinds = (
        *(("bool", BOOL, "yYnNtTfFoO"), ("float", number, "-+0123456789."), ("int", INT, "-+0123456789")),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    )
    for kind, expression, first in kinds:
        for character in first:
            found.setdefault(character, []).append((TAG + kind, re.compile(f"^(?:{expression})$")))
    return found


class PlainLoader(Base):
    """Reads null, bool, int, float, str, list and dict, and nothing else."""

    yaml_implicit_resolvers = resolvers(FLOAT)
    aliases = False

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping; refuses a key that occurs more than once."""
        found = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key occurs more than once", node.start_mark)
        return found

    def short(self, node: Any) -> Any:
        """Constructs a number."""
        if (digits := len(node.value)) > DIGITS:
            raise yaml.constructor.ConstructorError(None, None, f"a number of {digits} digits", node.start_mark)
        try:
            return self.construct_yaml_int(node) if node.tag == f"{TAG}int" else self.construct_yaml_float(node)
        except (ValueError, LookupError) as error:  # of an explicit tag: !!int x
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


PlainLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(TAG) in ("null", "bool", "str", "seq", "map")
} | {f"{TAG}{kind}": PlainLoader.short for kind in ("int", "float")}


class ConfigLoader(PlainLoader):
    """Reads 1e-3 as a number too, and aliases, for files that people write."""

    yaml_implicit_resolvers = resolvers(LOOSE_FLOAT)
    aliases = True


def parse_yaml(text: str, loader: type = PlainLoader) -> Any:
    """Plain data from YAML.

    Args:
        text: of a document.
        loader: `PlainLoader`, or `ConfigLoader` for text that people write.

    Raises:
        ValueError: the text is not valid YAML, or has tags, repeated keys, aliases (of `PlainLoader`), or more
            values than `NODES` or nesting than `DEPTH`.
    """
    try:
        _check_size(text, loader)
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML ({error})") from error


def read_yaml(path: Path, loader: type = PlainLoader) -> Any:
    """Plain data from a YAML file.

    Args:
        path: of the file.
        loader: see `parse_yaml`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a regular file, is larger than `LARGEST`, or see `parse_yaml`.
    """
    check_file(path, "YAML file")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; a YAML file may have {LARGEST:,}.")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), loader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid YAML ({error}).") from error
    except ValueError as error:
        raise ValueError(f"{path} is {error}.") from error


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Writes plain data as YAML that `parse_yaml` reads.

    Raises:
        yaml.YAMLError: a value is not plain data.
    """
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice in full, without aliases, and long lists of values in lines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_values(self, data: list[Any] | tuple[Any, ...]) -> yaml.Node:
        plain = not any(isinstance(value, (list, tuple, dict)) for value in data)
        return self.represent_sequence(f"{TAG}seq", data, flow_style=plain and len(data) >= LONG)


_Dumper.add_representer(list, _Dumper.represent_values)
_Dumper.add_representer(tuple, _Dumper.represent_values)


def _check_size(text: str, loader: type) -> None:
    """Refuses more values than can be read in seconds; an alias, which can stand for terabytes, counts as what it is.

    Raises:
        ValueError: what the text has.
        yaml.YAMLError: it is not valid.
    """
    nodes, sizes = 0, {}  # of the values with an anchor
    inside: list[tuple[str | None, int]] = []  # anchor of each collection that is open, and the nodes before it
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            if not getattr(loader, "aliases", False):
                raise ValueError(f"not plain YAML: it has the alias *{event.anchor}; write the value itself")
            if event.anchor in (anchor for anchor, _ in inside):
                raise ValueError(f"not plain YAML: the value of &{event.anchor} contains itself")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            sizes[event.anchor] = 1
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, nodes))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = inside.pop()
            sizes[anchor] = nodes - before + 1
        if len(inside) > DEPTH or nodes > NODES:
            raise ValueError(f"too large: it may have {NODES:,} values, nested up to {DEPTH} deep")
