"""Networks of a base and attached parts; the class of a node is its role.

Ying, Bourgeois, You, Zitnik, Leskovec: "GNNExplainer: Generating Explanations for Graph Neural Networks", NeurIPS 2019,
arXiv 1903.03894 (BA-Shapes, Tree-Cycles).
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from zoo.data.synthetic.graph_parts import Pairs, cycle, house, tree
from zoo.data.synthetic.node_worlds import NodeWorld, Roles
from zoo.utils.checks import check_at_least, check_between


class BAShapes(NodeWorld):
    """A network grown by preferential attachment, to which 80 houses are attached; the class is the role of a node.

    The base has 300 nodes, each new one with five edges. A house has two ground nodes, two middle ones and a roof; the
    evidence of its nodes are its six edges, that of the base is not known. `more` random edges are added for each node
    of the network, none within a house, so that not every role can be told. Nodes have no features.

    Args:
        base: nodes of the base.
        houses: number of houses.
        more: random edges, as a share of the number of nodes.
        radius: see `NodeWorld`.
        **loading: the options of `DataModule`.
    """

    classes = ("base", "roof", "middle", "ground")

    def __init__(self, base: int = 300, houses: int = 80, more: float = 0.1, radius: int = 2, **loading: Any) -> None:
        super().__init__(radius, **loading)
        check_at_least(10, base=base, houses=houses)
        check_between(0, 1, more=more)
        self.base, self.houses, self.more = base, houses, more

    def make(self, random: Random) -> Roles:
        parts = [(house(), (2, 2, 3, 3, 1))] * self.houses
        return attached_parts(attachment(self.base, 5, random), self.base, parts, self.more, random)


class TreeCycles(NodeWorld):
    """A binary tree to which rings of six nodes are attached; the class is whether a node belongs to a ring.

    The evidence of the nodes of a ring are its six edges, that of the tree is not known. Nodes have no features.

    Args:
        height: of the tree, which has 2^(height + 1) - 1 nodes.
        rings: number of rings.
        more: random edges, as a share of the number of nodes; none within a ring.
        radius: see `NodeWorld`.
        **loading: the options of `DataModule`.
    """

    classes = ("tree", "ring")

    def __init__(self, height: int = 8, rings: int = 80, more: float = 0.0, radius: int = 3, **loading: Any) -> None:
        super().__init__(radius, **loading)
        check_between(3, 15, height=height)
        check_at_least(10, rings=rings)
        check_between(0, 1, more=more)
        self.height, self.rings, self.more = height, rings, more

    def make(self, random: Random) -> Roles:
        size = 2 ** (self.height + 1) - 1
        return attached_parts(tree(size), size, [(cycle(6), (1,) * 6)] * self.rings, self.more, random)


def attachment(size: int, edges: int, random: Random) -> Pairs:
    """A network to which each node is added with some edges to nodes drawn by their degree.

    Barabási, Albert: "Emergence of Scaling in Random Networks", Science 286, 1999.
    """
    pairs, ends = [], list[int]()
    for new in range(edges, size):
        chosen = set(range(edges)) if new == edges else set[int]()
        while len(chosen) < edges:
            chosen.add(random.choice(ends))
        for old in sorted(chosen):
            pairs.append((old, new))
            ends += [old, new]
    return pairs


def attached_parts(
    base: Pairs, size: int, parts: Sequence[tuple[Pairs, tuple[int, ...]]], more: float, random: Random
) -> Roles:
    """A base of class 0 and parts, each joined to it by one random edge, and further random edges.

    Args:
        base: its edges.
        size: number of its nodes.
        parts: edges of each part, and the class of each of its nodes.
        more: random edges, as a share of all nodes; none within a part.
        random: source of all randomness.
    """
    pairs, labels, evidence = list(base), [0] * size, [list[int]() for _ in range(size)]
    owner = [-1] * size
    for number, (edges, roles) in enumerate(parts):
        first, own = len(labels), list(range(len(pairs), len(pairs) + len(edges)))
        pairs += [(a + first, b + first) for a, b in edges]
        pairs.append((random.randrange(size), first + random.randrange(len(roles))))
        labels += roles
        evidence += [own] * len(roles)
        owner += [number] * len(roles)
    known, wanted = {(min(p), max(p)) for p in pairs}, len(pairs) + int(more * len(labels))
    while len(pairs) < wanted:
        a, b = sorted(random.sample(range(len(labels)), 2))
        if (a, b) not in known and (owner[a] < 0 or owner[a] != owner[b]):
            known.add((a, b))
            pairs.append((a, b))
    return Roles([[] for _ in labels], pairs, labels, evidence)
