"""Scores of the edges of graphs, read from an explanation, and the subgraph of the edges that score highest."""

import torch
from torch import Tensor

from zoo.domain import Domain, GraphDomain
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.subject import Case

SHARE = 0.25  # of the edges of a graph, which an explanation keeps


def graphs_of(domain: Domain) -> GraphDomain:
    """The domain of graphs.

    Raises:
        ValueError: it is of another modality.
    """
    if not isinstance(domain, GraphDomain):
        raise ValueError(f"scores of edges need graphs; got a domain of {domain.noun}.")
    return domain


def edges_of(x: Tensor, domain: GraphDomain) -> tuple[Tensor, Tensor]:
    """Which edges inputs (B, n + m, W) have, (B, m) bool, and the nodes that each joins, (B, m, 2)."""
    here, ends = x[:, : domain.nodes, 0] > 0, x[:, domain.nodes :, 1:3].long()
    both = here.gather(1, ends.flatten(1)).unflatten(1, (-1, 2)).all(2)
    return (x[:, domain.nodes :, 0] > 0) & both, ends


def edge_scores(case: Case) -> Tensor:
    """(B, m) how much each edge counts, from what the explanation shows; 0 for absent edges.

    Of a graph whose units are nodes and whose edges are used in part, but not all left out, the gates of the edges: the
    largest support.
    Otherwise the mean of |value| of both ends, where the value of a node is its contribution to the centred score if
    the units are nodes; what all units contribute to the target's score there, if the details tell it "by node"; or
    else the contributions spread over the input, to which |value| of the edge itself is added.

    Raises:
        ValueError: not a case of graphs, or units without a location in the input.
    """
    domain, told = graphs_of(case.domain), case.explanation
    present, ends = edges_of(case.x, domain)
    own = torch.zeros_like(present, dtype=torch.float64)
    of_nodes = all(unit.kind == "node" for unit in told.units)
    if of_nodes and told.contributions is not None:
        nodes = case.margins
    elif "by node" in told.details:
        nodes = told.details["by node"].sum(1)
    else:
        nodes, own = case.attribution.double().split([domain.nodes, domain.edges], 1)
    size = nodes.double().abs()
    scores = own.abs() + size.gather(1, ends.flatten(1)).unflatten(1, (-1, 2)).mean(2)
    if of_nodes and told.support is not None:
        gates = told.support[:, :, domain.nodes :].amax(1).double()
        in_part = ((gates > 0) & present).any(1, keepdim=True) & ((gates < 1) & present).any(1, keepdim=True)
        scores = torch.where(in_part, gates, scores)
    return scores.masked_fill(~present, 0.0)


def edge_labels(case: Case) -> Tensor | None:
    """(B, m) 1 for edges in the ground-truth regions, 0 for others; None if they are unknown.

    NaN for absent edges, and for all edges of a row without an edge in its regions, whose evidence is not known.
    """
    if case.regions is None:
        return None
    domain = graphs_of(case.domain)
    relevant = (case.regions.amax(1)[:, domain.nodes :] > 0).double()
    return relevant.masked_fill(~edges_of(case.x, domain)[0] | (relevant.amax(1, keepdim=True) == 0), torch.nan)


def top_edges(scores: Tensor, present: Tensor, ids: Tensor, share: float = SHARE, seed: int = 0) -> Tensor:
    """(B, m) bool: the edges that score highest, ⌈share · edges⌉ of each graph, but none with a score of 0.

    Args:
        scores: (B, m), at least 0.
        present: (B, m) bool, the edges that there are.
        ids: (B,) sample ids, which seed the order of equal scores.
        share: in (0, 1].
        seed: of the order of equal scores.
    """
    keys = uniform(ids, scores.shape[1], seed, "equal edges").argsort(1)
    ordered = scores.masked_fill(~present, -1).gather(1, keys).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(keys).scatter_(
        1, keys.gather(1, ordered), torch.arange(keys.shape[1], device=keys.device).expand_as(keys)
    )
    count = (share * present.sum(1, keepdim=True) - 1e-9).ceil()
    return (place < count) & present & (scores > 0)


def random_edges(chosen: Tensor, present: Tensor, ids: Tensor, seed: int = 0) -> Tensor:
    """(B, m) bool: as many random edges of each graph as are `chosen` (B, m)."""
    keys = uniform(ids, chosen.shape[1], seed, "random edges").masked_fill(~present, 2.0)
    return (keys.argsort(1).argsort(1) < chosen.sum(1, keepdim=True)) & present


def nodes_at(edges: Tensor, ends: Tensor, nodes: int) -> Tensor:
    """(B, n) bool: the nodes that the edges (B, m) bool with ends (B, m, 2) join."""
    found = torch.zeros(len(edges), nodes, device=edges.device)
    touched = edges[..., None].expand(-1, -1, 2).flatten(1).float()
    return found.scatter_add(1, ends.flatten(1), touched) > 0


def subgraph(x: Tensor, edges: Tensor, domain: GraphDomain) -> Tensor:
    """Inputs (B, n + m, W) with the edges (B, m) bool and the nodes that they join; all else is removed.

    A node that is asked about stays.
    """
    kept = torch.cat([nodes_at(edges, edges_of(x, domain)[1], domain.nodes), edges], 1)
    if domain.radius is not None:
        kept[:, 0] = True
    return torch.where(kept[..., None], x, 0.0)
