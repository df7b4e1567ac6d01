"""Graphs as JSON: {"nodes": [{"name": "C1", "element": "C", "charge": 0.1}, ...], "edges": [[0, 1], ["C1", "O2"]]}.

`nodes` is a list with the features of each node, by name or in the order of the domain, or the number of nodes if they
have none. A value is a number, or a text: one of some categories. `name` is what pages call the node. An edge names its
two nodes by name or by number, from 0; a third entry has the features of the edge.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean

IS = " = "  # between a feature and its value, in the name of the column of a category
MOST = 1_000_000  # nodes or edges of any graph
Features = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class GraphText:
    """A graph as it was written.

    Attributes:
        names: of the n nodes; "" without one.
        nodes: features of each node.
        ends: numbers of the two nodes of each edge.
        edges: features of each edge.
        others: all further entries, such as a label.
    """

    names: tuple[str, ...]
    nodes: tuple[Features, ...]
    ends: tuple[tuple[int, int], ...]
    edges: tuple[Features, ...]
    others: Mapping[str, Any]


def parse_graph(text: str) -> GraphText:
    """Reads a graph.

    Raises:
        ValueError: not JSON of this form, a graph without nodes, an edge to a node that does not exist, or one name
            for several nodes.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the graph is not JSON ({error}); expected {_EXPECTED}.") from None
    if not isinstance(found, dict) or "nodes" not in found:
        raise ValueError(f"the graph has no 'nodes'; expected {_EXPECTED}.")
    given, pairs = found.pop("nodes"), found.pop("edges", [])
    nodes = _nodes(given)
    names = tuple(str(node.get("name", "")) if isinstance(node, Mapping) else "" for node in nodes)
    number = {name: i for i, name in enumerate(names) if name}
    if len(number) < sum(map(bool, names)):
        twice = next(name for name in names if name and names.count(name) > 1)
        raise ValueError(f"the name '{twice}' belongs to several nodes; node names must differ.")
    if not isinstance(pairs, list):
        raise ValueError(f"'edges' must be a list of pairs of nodes; got {pairs!r:.60}.")
    _bounded(len(pairs), "edges")
    ends, features = [], []
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) not in (2, 3):
            raise ValueError(f"edge {i} must be [node, node] or [node, node, features]; got {pair!r:.60}.")
        ends.append((_end(pair[0], number, len(nodes), i), _end(pair[1], number, len(nodes), i)))
        features.append(_features(pair[2] if len(pair) == 3 else {}, f"edge {i}"))
    return GraphText(names, nodes, tuple(ends), tuple(features), found)


def encode_features(rows: Sequence[Features], columns: Sequence[str], what: str) -> tuple[Tensor, list[str]]:
    """Features as numbers, and what was not known of them, in sentences.

    Args:
        rows: n mappings of names to numbers or texts, or lists of F numbers.
        columns: names of the F columns; "element = C" is 1 where the feature "element" has the value "C", else 0.
        what: "node" or "edge", for messages.

    Returns:
        (n, F), and warnings of values that no column has.

    Raises:
        ValueError: a feature is missing or unknown, or a value is no finite number.
    """
    column = {name: k for k, name in enumerate(columns)}
    categories = {name.rpartition(IS)[0] for name in columns if IS in name}
    numeric = [name for name in columns if IS not in name]
    values, unknown = torch.zeros(len(rows), len(columns)), dict[str, None]()
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            if len(row) != len(columns):
                raise ValueError(
                    f"{what} {i} has {len(row)} features; expected {len(columns)}: {', '.join(columns) or 'none'}."
                )
            values[i] = torch.tensor([_number(v, f"{what} {i}, feature {k}") for k, v in enumerate(row)])
            continue
        given = {key: value for key, value in row.items() if key != "name" or key in column}
        for key, value in given.items():
            if key in column:
                values[i, column[key]] = _number(value, f"{what} {i}, '{key}'")
            elif key in categories:
                name = f"{key}{IS}{value}"
                if name in column:
                    values[i, column[name]] = 1.0
                else:
                    unknown[f"The model does not know {name}."] = None
            else:
                known = [*numeric, *categories]
                hint = did_you_mean(str(key), known) if known else f"the model reads no features of {what}s."
                raise ValueError(f"{what} {i} has a feature '{key}'; {hint}")
        if missing := [name for name in (*numeric, *categories) if name not in given]:
            raise ValueError(f"{what} {i} has no value of '{missing[0]}'; the model reads {', '.join(columns)}.")
    return values, list(unknown)


def _nodes(given: Any) -> tuple[Features, ...]:
    if isinstance(given, int) and not isinstance(given, bool):
        _bounded(given, "nodes")
        given = [{}] * given
    if not isinstance(given, list):
        raise ValueError(f"'nodes' must be a list with the features of each node, or their number; got {given!r:.60}.")
    if not given:
        raise ValueError("the graph has no nodes; expected one or more.")
    _bounded(len(given), "nodes")
    return tuple(_features(node, f"node {i}") for i, node in enumerate(given))


def _features(given: Any, where: str) -> Features:
    if isinstance(given, Mapping | list):
        return given
    raise ValueError(f"the features of {where} must be {{name: value}} or a list of numbers; got {given!r:.60}.")


def _end(given: Any, number: Mapping[str, int], count: int, edge: int) -> int:
    if isinstance(given, str):
        if given in number:
            return number[given]
        raise ValueError(f"edge {edge} has an end '{given}', which no node is named; {did_you_mean(given, number)}")
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < count:
        return given
    raise ValueError(f"edge {edge} has an end {given!r:.40}; the graph has nodes 0 to {count - 1}.")


def _number(value: Any, where: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} is {value!r:.40}; expected a number.") from None
    if not math.isfinite(found) or abs(found) > torch.finfo(torch.float32).max:
        raise ValueError(f"{where} is {found}; expected a finite number.")
    return found


def _bounded(count: int, what: str) -> None:
    if not 0 <= count <= MOST:
        raise ValueError(f"the graph has {count} {what}; the largest number is {MOST}.")


_EXPECTED = '{"nodes": [{"feature": 1.0}, ...], "edges": [[0, 1], ...]}'
