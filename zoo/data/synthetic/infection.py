"""A network through which an infection spreads; the class of a node is the distance to the nearest infected one.

Faber, Moghaddam, Wattenhofer: "When Comparing to Ground Truth is Wrong: On Evaluating GNN Explanation Methods", KDD
2021.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from zoo.data.synthetic.graph_parts import Pairs
from zoo.data.synthetic.node_worlds import NodeWorld, Roles
from zoo.utils.checks import check_at_least, check_between


class Infection(NodeWorld):
    """A random network with infected nodes; the class is the distance to the nearest of them, up to `radius`.

    The feature "infected" is 1 for infected nodes. The evidence is the shortest path from an infected node, where there
    is only one such path; infected nodes themselves, those further away and those with several paths have none.

    Differs from the published data: edges have no direction.

    Args:
        nodes: of the network.
        degree: mean number of edges of a node.
        infected: share of infected nodes.
        radius: of the surroundings that are read, and the largest distance with a class of its own.
        **loading: the options of `DataModule`.
    """

    features = ("infected",)

    def __init__(
        self, nodes: int = 1000, degree: float = 3.0, infected: float = 0.05, radius: int = 3, **loading: Any
    ) -> None:
        super().__init__(radius, **loading)
        check_at_least(100, nodes=nodes)
        check_between(1, 10, degree=degree)
        check_between(0.01, 0.5, infected=infected)
        self.count, self.degree, self.infected = nodes, degree, infected
        self.classes = ("infected", *(f"{d} away" for d in range(1, radius + 1)), "farther")

    def make(self, random: Random) -> Roles:
        pairs: dict[tuple[int, int], None] = {}
        while len(pairs) < self.count * self.degree / 2:
            a, b = sorted(random.sample(range(self.count), 2))
            pairs[a, b] = None
        sources = random.sample(range(self.count), round(self.infected * self.count))
        distance, before = spread(list(pairs), self.count, sources)
        ill = set(sources)
        labels = [min(d, self.radius + 1) for d in distance]
        evidence = [trace(i, before) if 0 < distance[i] <= self.radius else [] for i in range(self.count)]
        return Roles([[float(i in ill)] for i in range(self.count)], list(pairs), labels, evidence)


def spread(pairs: Pairs, count: int, sources: Sequence[int]) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """Distances (`count` where there is no path) to the nearest source, and (node, edge) before each node."""
    beside = [list[tuple[int, int]]() for _ in range(count)]
    for e, (a, b) in enumerate(pairs):
        beside[a].append((b, e))
        beside[b].append((a, e))
    distance, before, front = [count] * count, [list[tuple[int, int]]() for _ in range(count)], list(sources)
    for node in sources:
        distance[node] = 0
    while front:
        reached = []
        for node in front:
            for other, edge in beside[node]:
                if distance[other] == count:
                    distance[other] = distance[node] + 1
                    reached.append(other)
                if distance[other] == distance[node] + 1:
                    before[other].append((node, edge))
        front = reached
    return distance, before


def trace(node: int, before: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """The edges of the shortest path to a node; empty where there are several."""
    path = []
    while before[node]:
        if len(before[node]) > 1:
            return []
        node, edge = before[node][0]
        path.append(edge)
    return path
