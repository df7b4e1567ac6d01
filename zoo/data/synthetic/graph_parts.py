"""Parts that generated graphs are made of, and graphs with known evidence as items."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from zoo.data.synthetic.arrays import EvidenceRows
from zoo.domain import GraphDomain

Pairs = list[tuple[int, int]]


def cycle(size: int) -> Pairs:
    """A ring of nodes."""
    return [(i, (i + 1) % size) for i in range(size)]


def house() -> Pairs:
    """A ring of four nodes, two of which share a fifth: 5 nodes, 6 edges."""
    return [*cycle(4), (0, 4), (1, 4)]


def crane() -> Pairs:
    """A ring of four nodes with a diagonal, and a fifth node at one end of it: 5 nodes, 6 edges."""
    return [*cycle(4), (0, 2), (0, 4)]


def tree(size: int) -> Pairs:
    """A binary tree, filled from the left."""
    return [((i - 1) // 2, i) for i in range(1, size)]


def ladder(size: int) -> Pairs:
    """Two paths of size / 2 nodes each, joined by rungs."""
    half = size // 2
    rails = [(i, i + 1) for i in range(size - 1) if i + 1 != half]
    return rails + [(i, i + half) for i in range(half)]


def wheel(size: int) -> Pairs:
    """A ring, and a hub that is joined to each of its nodes."""
    return [(i + 1, j + 1) for i, j in cycle(size - 1)] + [(0, i) for i in range(1, size)]


def attachment_tree(size: int, random: Random) -> Pairs:
    """A tree to which each node is added at a node drawn by its degree.

    Barabási, Albert: "Emergence of Scaling in Random Networks", Science 286, 1999, with one edge for each node.
    """
    pairs, ends = [(0, 1)], [0, 1]
    for new in range(2, size):
        old = random.choice(ends)
        pairs.append((old, new))
        ends += [old, new]
    return pairs


@dataclass
class Made:
    """One generated graph.

    Attributes:
        features: F numbers of each node.
        pairs: its edges.
        parts: the nodes of each part by name, such as "motif".
        attributes: A numbers of each edge.
    """

    features: list[list[float]]
    pairs: Pairs
    parts: dict[str, list[int]]
    attributes: list[list[float]] = field(default_factory=list)

    def shuffled(self, random: Random) -> "Made":
        """The same graph with nodes and edges in random order, so that numbers of nodes tell nothing."""
        order = random.sample(range(len(self.features)), len(self.features))
        number = {old: new for new, old in enumerate(order)}
        turn = random.sample(range(len(self.pairs)), len(self.pairs))
        ends = [(number[a], number[b]) for a, b in (self.pairs[i] for i in turn)]
        return Made(
            [self.features[i] for i in order],
            [(min(pair), max(pair)) for pair in ends],
            {name: sorted(number[i] for i in nodes) for name, nodes in self.parts.items()},
            [self.attributes[i] for i in turn] if self.attributes else [],
        )


class GraphRows(EvidenceRows):
    """Generated graphs; a removed part leaves with its nodes and all edges to them.

    Regions (N, 1, n + m) mark the nodes of the first part, and the edges between two of them.

    Args:
        domain: of the graphs.
        made: N graphs, all with the same parts.
        targets, names: see `Rows`.
    """

    def __init__(self, domain: GraphDomain, made: Sequence[Made], targets: Tensor, names: Sequence[str]) -> None:
        factors = list(made[0].parts)
        inputs = torch.zeros(len(made), *domain.shape)
        inside = torch.zeros(len(made), len(factors), domain.nodes)
        for i, one in enumerate(made):
            inputs[i] = domain.rows_of(
                torch.tensor(one.features).view(len(one.features), -1),
                torch.tensor(one.pairs).view(-1, 2),
                torch.tensor(one.attributes).view(len(one.pairs), -1),
            )
            for part, nodes in enumerate(one.parts.values()):
                inside[i, part, nodes] = 1.0
        edges = inputs[:, domain.nodes :]
        ends = edges[..., 1:3].long().flatten(1)[:, None].expand(-1, len(factors), -1)
        at = inside.gather(2, ends).unflatten(2, (-1, 2)) * edges[:, None, :, :1]  # (N, R, m, 2) ends within the part
        regions = torch.cat([inside, at.amin(3)], 2)[:, :1]
        changed = torch.cat([inside, at.amax(3)], 2)
        super().__init__(inputs, targets, names, regions, factors, torch.zeros_like(inputs), changed)

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        removed = self.changed[rows][:, [self.factors.index(name) for name in factors]].any(1)
        return torch.where(removed[..., None], 0.0, self.inputs[rows])
