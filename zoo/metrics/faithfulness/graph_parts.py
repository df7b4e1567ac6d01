"""Parts of graphs, taken out of inputs and joined to other graphs."""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from zoo.domain import GraphDomain


@dataclass(frozen=True)
class Part:
    """A graph as lists.

    Attributes:
        nodes: (k, W) rows of its nodes in an input.
        ends: the nodes that each edge joins, from 0.
        edges: (l, W) rows of its edges in an input.
    """

    nodes: Tensor
    ends: list[tuple[int, int]]
    edges: Tensor


def part(x: Tensor, nodes: Tensor, edges: Tensor, domain: GraphDomain) -> Part:
    """The nodes (n,) bool and edges (m,) bool of an input (n + m, W); the ends of the edges are among the nodes."""
    number = (nodes.cumsum(0) - 1).tolist()
    rows = x[domain.nodes :][edges]
    return Part(x[: domain.nodes][nodes], [(number[int(a)], number[int(b)]) for a, b in rows[:, 1:3].tolist()], rows)


def grown(whole: Part, size: int, random: Random) -> Part:
    """A connected part of at most `size` edges, which grows from a random edge by random neighbouring edges."""
    left = random.sample(range(len(whole.ends)), len(whole.ends))
    chosen, inside = left[:1], set(whole.ends[left[0]]) if left else set()
    while len(chosen) < size:
        beside = next((e for e in left if e not in chosen and inside & set(whole.ends[e])), None)
        if beside is None:
            break
        chosen.append(beside)
        inside |= set(whole.ends[beside])
    order = sorted(inside)
    number = {node: i for i, node in enumerate(order)}
    ends = [(number[a], number[b]) for a, b in (whole.ends[e] for e in chosen)]
    return Part(whole.nodes[order], ends, whole.edges[chosen])


def attached(base: Part, held: set[int], other: Part, random: Random, domain: GraphDomain) -> Tensor | None:
    """The input (n + m, W) of two graphs that one edge joins, or None if there is no room for them.

    Nodes of `base` that are not `held` leave at random, with their edges, until there is room for `other`. The edge
    joins a random node of `other` to a random one of `base`, which is not held if there is such a node; its features
    are those of a random edge of both. There is none if one of them has no node.
    """
    free = [i for i in range(len(base.nodes)) if i not in held]
    leaving = random.sample(free, len(free))
    inside, kept = set(range(len(base.nodes))), list(range(len(base.ends)))
    while len(inside) + len(other.nodes) > domain.nodes or len(kept) + len(other.ends) + 1 > domain.edges:
        if not leaving:
            return None
        inside.remove(leaving.pop())
        kept = [e for e in kept if inside.issuperset(base.ends[e])]
    order, first = sorted(inside), len(inside)
    number = {node: i for i, node in enumerate(order)}
    ends = [(number[a], number[b]) for a, b in (base.ends[e] for e in kept)]
    ends += [(a + first, b + first) for a, b in other.ends]
    rows = torch.cat([base.edges[kept], other.edges])
    if order and len(other.nodes):
        at = random.choice([i for i in order if i not in held] or order)
        ends.append((number[at], first + random.randrange(len(other.nodes))))
        rows = torch.cat([rows, rows[random.randrange(len(rows))][None] if len(rows) else _edge(base.nodes)])
    x = base.nodes.new_zeros(domain.shape)
    x[: first + len(other.nodes)] = torch.cat([base.nodes[order], other.nodes])
    x[domain.nodes : domain.nodes + len(rows)] = rows
    if ends:
        x[domain.nodes : domain.nodes + len(ends), 1:3] = torch.tensor(ends).to(x)
    return x


def _edge(like: Tensor) -> Tensor:
    """(1, W) the row of an edge whose features are 0, their mean."""
    row = like.new_zeros(1, like.shape[1])
    row[0, 0] = 1.0
    return row
