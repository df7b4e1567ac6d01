"""Networks, and the part of a network around a node: what a model of nodes reads."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.domain.graph_text import IS, GraphText
from zoo.utils.errors import did_you_mean

CENTRE = "centre"  # entry of a graph that names the node asked about, or several
MOST = 20_000_000  # nodes and edges of all surroundings that are made at once


class Network:
    """Which nodes an edge joins, prepared for walks from many nodes.

    Args:
        nodes: number of nodes.
        ends: (M, 2) the nodes of each edge; directions do not count.
    """

    def __init__(self, nodes: int, ends: Sequence[tuple[int, int]]) -> None:
        self.nodes, self.ends = nodes, np.asarray(ends, dtype=np.int64).reshape(-1, 2)
        source = np.concatenate([self.ends[:, 0], self.ends[:, 1]])
        order = np.argsort(source, kind="stable")
        self._start = np.searchsorted(source[order], np.arange(nodes + 1))
        self._end = np.concatenate([self.ends[:, 1], self.ends[:, 0]])[order]
        self._edge = np.tile(np.arange(len(self.ends)), 2)[order]

    def around(self, centre: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
        """The nodes at most `radius` edges from a node, and the edges between two of them.

        Returns:
            Numbers of the nodes, the centre first, then by distance and number; numbers of the edges, ascending.
        """
        seen = np.zeros(self.nodes, dtype=bool)
        seen[centre] = True
        front, found = np.array([centre]), [np.array([centre])]
        for _ in range(radius):
            reached = self._incident(front, self._end)
            front = np.unique(reached[~seen[reached]])
            if not len(front):
                break
            seen[front] = True
            found.append(front)
        nodes = np.concatenate(found)
        edges = np.unique(self._incident(nodes, self._edge))
        return nodes, edges[seen[self.ends[edges]].all(1)]

    def _incident(self, nodes: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.concatenate([of[self._start[node] : self._start[node + 1]] for node in nodes.tolist()])


def centres(graph: GraphText) -> list[int]:
    """The nodes that a graph asks about: those under "centre", by name or number, or all.

    Raises:
        ValueError: there is no such node.
    """
    given = graph.others.get(CENTRE)
    if given is None:
        return list(range(len(graph.nodes)))
    number = {name: i for i, name in enumerate(graph.names) if name}
    return [_node(one, number, len(graph.nodes)) for one in (given if isinstance(given, list) else [given])]


def surroundings(graph: GraphText, radius: int) -> GraphText:
    """The part of a network at most `radius` edges from its one centre, which becomes node 0.

    Nodes without a name are called by their number in the network.

    Raises:
        ValueError: "centre" is missing, names several nodes, or none that there is.
    """
    if CENTRE not in graph.others:
        raise ValueError(
            'the model answers for a node of a network, and the graph does not say which: add "centre", the node\'s '
            "name or number."
        )
    found = centres(graph)
    if len(found) != 1:
        raise ValueError(f"'centre' names {len(found)} nodes; expected one.")
    return part(graph, Network(len(graph.nodes), graph.ends), found[0], radius)


def part(graph: GraphText, network: Network, centre: int, radius: int) -> GraphText:
    """The part of a graph around a node; see `surroundings`."""
    nodes, edges = network.around(centre, radius)
    place = {node: i for i, node in enumerate(nodes.tolist())}
    return GraphText(
        tuple(graph.names[i] or str(i) for i in nodes.tolist()),
        tuple(graph.nodes[i] for i in nodes.tolist()),
        tuple((place[graph.ends[e][0]], place[graph.ends[e][1]]) for e in edges.tolist()),
        tuple(graph.edges[e] for e in edges.tolist()),
        {**graph.others, CENTRE: 0},
    )


def questions(graph: GraphText, radius: int, columns: Iterable[str]) -> list[str]:
    """The surroundings of each centre of a network, as JSON.

    Features that the model does not read, such as labels, are left out.

    Args:
        graph: the network.
        radius: see `surroundings`.
        columns: names of the columns of nodes that the model reads.

    Raises:
        ValueError: an unknown centre, or too many surroundings for the memory.
    """
    network, found, total = Network(len(graph.nodes), graph.ends), [], 0
    known = {name.rpartition(IS)[0] if IS in name else name for name in columns}
    for centre in centres(graph):
        one = part(graph, network, centre, radius)
        if (total := total + len(one.nodes) + len(one.ends)) > MOST:
            raise ValueError(
                f"the surroundings of all nodes have more than {MOST:,} nodes and edges; name fewer nodes under "
                "'centre', or give the nodes of the table that are asked about a 1 in a column `ask`."
            )
        nodes: list[Any] = [
            {"name": name, **{key: value for key, value in node.items() if key in known}}
            if isinstance(node, Mapping)
            else node
            for name, node in zip(one.names, one.nodes, strict=True)
        ]
        edges = [[a, b, features] for (a, b), features in zip(one.ends, one.edges, strict=True)]
        found.append(json.dumps({"nodes": nodes, "edges": edges, CENTRE: 0}, ensure_ascii=False))
    return found


def _node(given: Any, number: Mapping[str, int], count: int) -> int:
    if isinstance(given, str):
        if given in number:
            return number[given]
        raise ValueError(f"'centre' names '{given}', which no node is called; {did_you_mean(given, number)}")
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < count:
        return given
    raise ValueError(f"'centre' is {given!r:.40}; the graph has nodes 0 to {count - 1}.")
