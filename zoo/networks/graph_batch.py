"""A batch of graphs as one large graph, whose parts are not connected: what graph networks compute on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.domain import GraphDomain


@dataclass(frozen=True)
class GraphBatch:
    """The nodes and edges of B inputs, in one list each.

    Absent nodes and edges are left out, so that they cost nothing and batch norm does not count them. In a program
    that is traced all N = B n and E = B m are kept, whose number does not depend on values, and those that are absent
    have the weight 0.

    Attributes:
        features: (N, 1 + F) of the nodes: 1, and the features.
        row: (N,) the input that each node belongs to.
        slot: (N,) place of each node among all B n.
        ends: (2, E) the nodes that each edge joins.
        attributes: (E, A) of the edges.
        place: (E,) place of each edge among all B m.
        present: (N,) 1, or 0 for an absent node; None if there is none.
        joins: (E,) likewise of the edges.
        size: B, n and m.
        directed: whether messages go only from the first end of an edge to the second one.
    """

    features: Tensor
    row: Tensor
    slot: Tensor
    ends: Tensor
    attributes: Tensor
    place: Tensor
    present: Tensor | None
    joins: Tensor | None
    size: tuple[int, int, int]
    directed: bool

    @staticmethod
    def of(x: Tensor, domain: GraphDomain) -> "GraphBatch":
        """The graphs of inputs (B, n + m, W)."""
        rows, n, m = x.shape[0], domain.nodes, domain.edges
        node, edge = x[:, :n], x[:, n:]
        here, ends = node[..., 0] > 0, edge[..., 1:3].long()  # (B, n), (B, m, 2)
        joined = (edge[..., 0] > 0) & here.gather(1, ends.flatten(1)).view(rows, m, 2).all(2)
        features = node[..., : 1 + len(domain.features)].flatten(0, 1)
        attributes = edge[..., 3 : 3 + len(domain.edge_features)].flatten(0, 1)
        first = torch.arange(rows, device=x.device)[:, None] * n
        ends = (ends + first[..., None]).flatten(0, 1).T  # (2, B m)
        owner = first.div(n, rounding_mode="floor").expand(-1, n).flatten()
        if torch.compiler.is_exporting():
            slot, place = torch.arange(rows * n, device=x.device), torch.arange(rows * m, device=x.device)
            present, joins = here.flatten().to(x.dtype), joined.flatten().to(x.dtype)
            size = (rows, n, m)
            return GraphBatch(features, owner, slot, ends, attributes, place, present, joins, size, domain.directed)
        slot, place = here.flatten().nonzero()[:, 0], joined.flatten().nonzero()[:, 0]
        number = here.flatten().cumsum(0) - 1  # of each slot among the nodes that are present
        ends = number[ends[:, place]]
        size = (rows, n, m)
        return GraphBatch(
            features[slot], owner[slot], slot, ends, attributes[place], place, None, None, size, domain.directed
        )

    def per_node(self, values: Tensor) -> Tensor:
        """Values (N, ...) of nodes as (B, n, ...), 0 for absent ones."""
        return self._spread(values, self.present, self.slot, self.size[1])

    def per_edge(self, values: Tensor) -> Tensor:
        """Values (E, ...) of edges as (B, m, ...), 0 for absent ones."""
        return self._spread(values, self.joins, self.place, self.size[2])

    def _spread(self, values: Tensor, weight: Tensor | None, where: Tensor, each: int) -> Tensor:
        rows, shape = self.size[0], values.shape[1:]
        if weight is not None:
            return (values * weight.view(-1, *[1] * len(shape))).view(rows, each, *shape)
        return values.new_zeros(rows * each, *shape).index_copy(0, where, values).view(rows, each, *shape)

    def pool(self, values: Tensor) -> Tensor:
        """Sums of values (N, D) over the nodes of each input: (B, D)."""
        values = values if self.present is None else values * self.present[:, None]
        return values.new_zeros(self.size[0], values.shape[1]).index_add(0, self.row, values)

    def centres(self, values: Tensor) -> Tensor:
        """Values (N, D) of the first node of each input, the one that is asked about: (B, D); 0 where it is absent."""
        return self.per_node(values)[:, 0]

    def distances(self, most: int) -> Tensor:
        """(N,) number of edges from the first node of each input, in any direction; `most` + 1 beyond `most`."""
        a, b = self.ends
        reached = (self.slot == self.row * self.size[1]).to(self.features.dtype)
        reached = reached if self.present is None else reached * self.present
        found = torch.where(reached > 0, 0, most + 1)
        for d in range(1, most + 1):
            there, back = (reached[one] if self.joins is None else reached[one] * self.joins for one in (a, b))
            reached = reached + torch.zeros_like(reached).index_add(0, b, there).index_add(0, a, back)
            reached = (reached > 0).to(reached.dtype)
            found = torch.where((reached > 0) & (found > most), d, found)
        return found

    def normalise_edges(self, values: Tensor, epsilon: float = 1e-5) -> Tensor:
        """Values (E, D) of edges with mean 0 and variance 1 over the edges of each input; 0 for a single edge."""
        rows, m = self.size[0], self.size[2]
        owner = self.place.div(max(m, 1), rounding_mode="floor")
        weight = torch.ones_like(values[:, :1]) if self.joins is None else self.joins[:, None].to(values.dtype)
        count = values.new_zeros(rows, 1).index_add(0, owner, weight).clamp_min(1)

        def mean(of: Tensor) -> Tensor:
            return (values.new_zeros(rows, of.shape[1]).index_add(0, owner, of * weight) / count)[owner]

        centred = values - mean(values)
        return centred * (mean(centred.square()) + epsilon).rsqrt()

    def messages(self) -> tuple[Tensor, Tensor, int]:
        """Senders (M,), receivers (M,) and how many times M all edges are: 2 if they lead in both directions."""
        a, b = self.ends
        return (a, b, 1) if self.directed else (torch.cat([a, b]), torch.cat([b, a]), 2)

    def nodes_and_edges(self, edges: Tensor | None) -> Tensor:
        """Supports (B, n, n + m) of nodes: each node itself, and its edges.

        Args:
            edges: (E,) in [0, 1], how much of each edge is used; by default 1.
        """
        rows, n, m = self.size
        weight = torch.ones_like(self.ends[0]) if edges is None else edges
        weight = weight.to(self.features.dtype)
        weight = weight if self.joins is None else weight * self.joins
        row = self.place.div(m, rounding_mode="floor") if m else self.place
        slots = self.slot[self.ends] - row * n  # (2, E) number of each end within its input
        support = self.features.new_zeros(rows, n, n + m)
        column = n + self.place - row * m
        for end in slots:
            support = support.index_put((row, end, column), weight)
        own = torch.ones_like(self.features[:, 0]) if self.present is None else self.present
        node = self.slot - self.row * n
        return support.index_put((self.row, node, node), own)


def aggregate(states: Tensor, batch: GraphBatch, gates: Tensor | None = None, edges: Tensor | None = None) -> Tensor:
    """Sums of the states of neighbours: Σ_j a_ij h_j, or Σ_j a_ij ReLU(h_j + e_ij) with states of edges.

    Args:
        states: h (N, D) of nodes.
        batch: the graphs.
        gates: a (E,) of edges; by default 1.
        edges: e (E, D) of edges.
    """
    sender, receiver, times = batch.messages()
    message = states.index_select(0, sender)  # (M, D)
    if edges is not None:
        message = (message + edges.repeat(times, 1)).relu()
    if batch.joins is not None:
        gates = batch.joins if gates is None else gates * batch.joins
    if gates is not None:
        message = message * gates.to(message.dtype).repeat(times)[:, None]
    return torch.zeros_like(states).scatter_add(0, receiver[:, None].expand_as(message), message)
