"""Cases as they are compared: a vector of the node or graph, and vectors of the edges around it.

Dai, Wang: "Towards Self-Explainable Graph Neural Network", CIKM 2021, arXiv 2108.12055.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.graph_batch import GraphBatch
from zoo.utils.functional import at_least_fp32


@dataclass(frozen=True)
class Cases:
    """B cases.

    Attributes:
        vectors: (B, D) of the node that is asked about; of a graph, the mean over its nodes.
        edges: (B, E, D) of the edges that are compared, each the mean of its two nodes; without any, `vectors`.
        there: (B, E) 1, or 0 for a place without an edge.
        places: (B, E - 1) number of each edge within its input; the last place is that of `vectors`.
    """

    vectors: Tensor
    edges: Tensor
    there: Tensor
    places: Tensor


def cases_of(states: Tensor, batch: GraphBatch, hops: int | None, most: int) -> Cases:
    """The cases of a batch of graphs.

    Args:
        states: (N, D) of the nodes.
        batch: the graphs.
        hops: compared are edges between nodes at most so far from the node that is asked about; None for all edges.
        most: edges of a case; the nearest, and of those as near the first.
    """
    a, b = batch.ends
    if hops is None:
        count = batch.pool(torch.ones_like(states[:, :1])).clamp_min(1)
        vectors, level = batch.pool(states) / count, torch.zeros_like(a)
    else:
        far = batch.distances(hops)
        vectors, level = batch.centres(states), torch.maximum(far.index_select(0, a), far.index_select(0, b))
    beyond = 0 if hops is None else hops
    order = batch.per_edge(beyond + 1 - level.clamp_max(beyond + 1))  # 0 for edges that are absent or too far
    places = order.sort(dim=1, descending=True, stable=True).indices[:, : min(most, order.shape[1])]
    there = (order.gather(1, places) > 0).to(states.dtype)
    means = batch.per_edge((states.index_select(0, a) + states.index_select(0, b)) / 2)
    edges = means.gather(1, places[:, :, None].expand(-1, -1, states.shape[1]))
    alone = (there.sum(1, keepdim=True) == 0).to(there.dtype)
    return Cases(vectors, torch.cat([edges, vectors[:, None]], 1), torch.cat([there, alone], 1), places)


@dataclass(frozen=True)
class Similarity:
    """How alike B cases are to S others: minus their distances.

    Attributes:
        node: (B, S) of the vectors.
        structure: (B, S) of the edges: half the mean over the edges of one of the similarity of its nearest edge of the
            other, in both directions.
        nearest: (B, E, S) of each edge to the nearest edge of the other.
    """

    node: Tensor
    structure: Tensor
    nearest: Tensor

    def mixed(self, share: float) -> Tensor:
        """(B, S): `share` of the nodes' similarity, and the rest of the structure's."""
        return share * self.node + (1 - share) * self.structure


def compare(cases: Cases, others: Cases) -> Similarity:
    """The similarity of cases (B) to others (S)."""
    (rows, count), (others_count, other) = cases.there.shape, others.there.shape
    away = -distances(cases.edges.flatten(0, 1), others.edges.flatten(0, 1)).view(rows, count, others_count, other)
    missing = torch.finfo(away.dtype).min
    forth = away.masked_fill(others.there[None, None] == 0, missing).amax(3)  # (B, E, S)
    back = away.masked_fill(cases.there[:, :, None, None] == 0, missing).amax(1)  # (B, S, E)
    own, theirs = cases.there[:, :, None], others.there[None]
    forth_mean = torch.where(own > 0, forth, 0.0).sum(1) / own.sum(1).clamp_min(1)
    back_mean = torch.where(theirs > 0, back, 0.0).sum(2) / theirs.sum(2).clamp_min(1)
    return Similarity(-distances(cases.vectors, others.vectors), (forth_mean + back_mean) / 2, forth)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances (A, B) of vectors (A, D) and (B, D), without the cancellation of a product."""
    return torch.cdist(at_least_fp32(first), at_least_fp32(second), compute_mode="donot_use_mm_for_euclid_dist")


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE of two views (N, D) of the same things: -mean log softmax(-distance / temperature) at the same thing."""
    if len(first) < 2:
        return first.sum() * 0
    return F.cross_entropy(-distances(first, second) / temperature, torch.arange(len(first), device=first.device))
