"""Files of graphs and networks: JSON, JSON lines, and folders with nodes.csv and edges.csv."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.utils.csv_files import TableRow, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import read_text

TABLE = "graphs"
TABLES = {"graphs": "graphs.csv", "nodes": "nodes.csv", "edges": "edges.csv"}


def read_graphs(path: Path) -> list[str]:
    """The graphs of a file, each as JSON; see `zoo.domain.graph_text`.

    Args:
        path: a .jsonl file with a graph on each line, a .json file with one graph, or graphs.csv, see `read_tables`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not text, or not of these kinds.
    """
    if path.suffix.lower() == ".csv":
        if path.name.lower() != TABLES[TABLE]:
            raise ValueError(f"{path}: graphs are read from graphs.csv, with nodes.csv and edges.csv beside it.")
        return read_tables(path.parent)
    text = read_text(path, "file of graphs")
    return [line for line in text.split("\n") if line.strip()] if path.suffix.lower() == ".jsonl" else [text]


def read_tables(folder: Path) -> list[str]:
    """The graphs of three tables, each as JSON.

        graphs.csv     graph, and any columns such as label and split
        nodes.csv      graph, node, and a column for each feature
        edges.csv      graph, source, target, and a column for each feature

    Columns have headers; `graph` and `node` are any names. A node's name need only differ within its graph.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a column is missing, a graph is named twice, a node or edge is of no graph, or the ends of an edge
            are not nodes of its graph; names file and line.
    """
    graphs: dict[str, dict[str, Any]] = {}
    for row in read_table(folder / TABLES["graphs"], ("graph",), "table of graphs").rows:
        name = row.cells["graph"].strip()
        if name in graphs:
            raise ValueError(f"{row.where}: the graph '{name}' is in the table already; names of graphs must differ.")
        others = {key: cell for key, cell in row.cells.items() if key not in ("graph", "nodes", "edges")}
        graphs[name] = {"graph": name, **others, "nodes": [], "edges": []}
    named: dict[str, set[str]] = {name: set() for name in graphs}
    for row in read_table(folder / TABLES["nodes"], ("graph", "node"), "table of nodes").rows:
        graph, name = _graph_of(row, graphs), row.cells["node"].strip()
        if not name or name in named[graph]:
            raise ValueError(f"{row.where}: node '{name}' of graph '{graph}' has no name, or one that occurs twice.")
        named[graph].add(name)
        graphs[graph]["nodes"].append({"name": name, **_features(row, ("graph", "node", "name"))})
    for row in read_table(folder / TABLES["edges"], ("graph", "source", "target"), "table of edges").rows:
        graph = _graph_of(row, graphs)
        ends = [row.cells[end].strip() for end in ("source", "target")]
        for end in ends:
            if end not in named[graph]:
                raise ValueError(
                    f"{row.where}: graph '{graph}' has no node '{end}'; {did_you_mean(end, sorted(named[graph]))}"
                )
        graphs[graph]["edges"].append([*ends, _features(row, ("graph", "source", "target"))])
    return [json.dumps(graph, ensure_ascii=False) for graph in graphs.values()]


def read_network(path: Path) -> list[str]:
    """The networks of a file, each as JSON; see `zoo.domain.graph_text`.

        nodes.csv      node, and any columns such as features, label and split
        edges.csv      source, target, and a column for each feature

    Nodes with an entry in a column `ask` are those that are asked about; without one, all are.

    Args:
        path: a .jsonl file with a network on each line, a .json file with one, or nodes.csv with edges.csv beside it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of these kinds, a column is missing, a node is named twice, or the ends of an edge
            are not nodes; names file and line.
    """
    if path.suffix.lower() != ".csv":
        return read_graphs(path)
    if path.name.lower() != TABLES["nodes"]:
        raise ValueError(f"{path}: networks are read from nodes.csv, with edges.csv beside it.")
    nodes: dict[str, dict[str, str]] = {}
    asked = []
    for row in read_table(path, ("node",), "table of nodes").rows:
        name = row.cells["node"].strip()
        if not name or name in nodes:
            raise ValueError(f"{row.where}: node '{name}' has no name, or one that occurs twice.")
        nodes[name] = {"name": name, **_features(row, ("node", "name", "ask"))}
        asked += [name] if row.cells.get("ask", "").strip() else []
    edges = []
    for row in read_table(path.parent / TABLES["edges"], ("source", "target"), "table of edges").rows:
        ends = [row.cells[end].strip() for end in ("source", "target")]
        for end in ends:
            if end not in nodes:
                raise ValueError(f"{row.where}: there is no node '{end}'; {did_you_mean(end, sorted(nodes))}")
        edges.append([*ends, _features(row, ("source", "target"))])
    network = {"nodes": list(nodes.values()), "edges": edges} | ({"centre": asked} if asked else {})
    return [json.dumps(network, ensure_ascii=False)]


def _graph_of(row: TableRow, graphs: dict[str, dict[str, Any]]) -> str:
    name = row.cells["graph"].strip()
    if name not in graphs:
        raise ValueError(f"{row.where}: there is no graph '{name}' in graphs.csv; {did_you_mean(name, graphs)}")
    return name


def _features(row: TableRow, keys: Sequence[str]) -> dict[str, str]:
    return {key: cell.strip() for key, cell in row.cells.items() if key not in keys}
