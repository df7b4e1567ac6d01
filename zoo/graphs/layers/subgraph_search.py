"""The connected subgraph of a graph whose embedding is nearest to a vector."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.domain import GraphDomain

CHUNK = 512  # subgraphs that are embedded at once
Embed = Callable[[Tensor], Tensor]  # inputs (B, n + m, W) to vectors (B, D)


@dataclass(frozen=True)
class Subgraph:
    """A connected part of a graph.

    Attributes:
        distance: squared, of its vector to the one that was searched for.
        rows: (n + m, W), the input without all other nodes.
        vector: (D,) its embedding.
        complete: whether every connected subgraph of the allowed sizes was compared.
    """

    distance: float
    rows: Tensor
    vector: Tensor
    complete: bool


def nearest_subgraph(
    x: Tensor, vector: Tensor, embed: Embed, domain: GraphDomain, sizes: tuple[int, int], beam: int
) -> Subgraph:
    """Grows connected subgraphs node by node, and returns the nearest.

    Of the subgraphs of each size the `beam` nearest are grown further, each by every neighbouring node, so that all
    are compared where there are no more than that. Nodes outside are removed, with their edges. Ties go to the smaller
    subgraph, then to lower numbers of nodes.

    Args:
        x: the graph (n + m, W), with at least one node.
        vector: (D,) that is searched for.
        embed: inputs to vectors.
        domain: of the graphs.
        sizes: the smallest and the largest number of nodes; the smallest does not hold where the graph has no
            connected part of that size.
        beam: subgraphs of one size that are grown further.
    """
    joined = neighbours(x, domain)
    level, complete = [1 << node for node in joined], True
    found: list[tuple[float, int, Tensor]] = []  # of each size, the nearest
    for _ in range(sizes[1]):
        vectors = _embed(level, x, embed, domain)
        distance = (vectors - vector).square().sum(1)
        order = distance.sort(stable=True).indices.tolist()
        best = order[0]
        found.append((float(distance[best]), level[best], vectors[best]))
        complete &= len(level) <= beam
        kept = [level[i] for i in order[:beam]]
        level = sorted({part | 1 << node for part in kept for node in _around(part, joined)})
        if not level:
            break
    allowed = found[sizes[0] - 1 :] or found[-1:]
    distance, part, embedded = min(allowed, key=lambda one: one[0])
    return Subgraph(distance, without_others(part, x, domain), embedded, complete)


def neighbours(x: Tensor, domain: GraphDomain) -> dict[int, int]:
    """The neighbours of each node of an input (n + m, W), as bits of a number; directions do not count."""
    nodes, edges = x[: domain.nodes], x[domain.nodes :]
    joined = dict.fromkeys((nodes[:, 0] > 0).nonzero().flatten().tolist(), 0)
    for a, b in edges[edges[:, 0] > 0, 1:3].long().tolist():
        if a in joined and b in joined:
            joined[a] |= 1 << b
            joined[b] |= 1 << a
    return joined


def ball(x: Tensor, centre: int, reach: int, domain: GraphDomain) -> Tensor:
    """The input (n + m, W) without the nodes that are more than `reach` edges away from a node."""
    joined, part = neighbours(x, domain), 1 << centre
    for _ in range(reach):
        for node in list(bits(part)):
            part |= joined[node]
    return without_others(part, x, domain)


def without_others(part: int, x: Tensor, domain: GraphDomain) -> Tensor:
    """The input (n + m, W) without the nodes outside of `part`, given as bits, and their edges."""
    kept = torch.tensor([bool(part >> node & 1) for node in range(domain.nodes)], device=x.device)
    edges = x[domain.nodes :]
    whole = kept[edges[:, 1:3].long()].all(1) & (edges[:, 0] > 0)
    return torch.where(torch.cat([kept, whole])[:, None], x, 0.0)


def bits(number: int) -> Iterator[int]:
    """The places of the ones of a number, from 0."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _around(part: int, joined: dict[int, int]) -> list[int]:
    """The nodes beside a part."""
    beside = 0
    for node in bits(part):
        beside |= joined[node]
    return list(bits(beside & ~part))


def _embed(parts: list[int], x: Tensor, embed: Embed, domain: GraphDomain) -> Tensor:
    """Vectors (S, D) of parts of a graph, in fp32."""
    vectors = []
    for start in range(0, len(parts), CHUNK):
        kept = torch.zeros(len(parts[start : start + CHUNK]), len(x), 1, dtype=torch.bool)
        kept[:, domain.nodes :] = True  # edges of absent nodes are absent
        for row, part in enumerate(parts[start : start + CHUNK]):
            kept[row, list(bits(part))] = True
        vectors.append(embed(torch.where(kept.to(x.device), x, 0.0)).float())
    return torch.cat(vectors)
