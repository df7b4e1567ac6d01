"""How many nodes are how far from each node: all that a model of distances needs to know of the edges."""

import torch
from torch import Tensor, nn

from zoo.domain import GraphDomain
from zoo.networks.graph_batch import GraphBatch


def distance_counts(batch: GraphBatch, furthest: int) -> Tensor:
    """(N, D) for each node j and d = 0 … D - 1: Σ_i [d_ij = d] / #_i(d), with D = `furthest` + 1.

    d_ij is the number of edges of the shortest path, in any direction, and #_i(d) how many nodes are at the distance d
    from node i. Nodes that are further away, or not connected, do not count.

    Args:
        batch: the graphs.
        furthest: largest distance.
    """
    rows, n, _ = batch.size
    exporting = batch.present is not None
    first = batch.row * n
    if exporting:
        place = batch.slot - first
    else:
        count = torch.bincount(batch.row, minlength=rows)
        n = int(count.max()) if len(count) else 0
        place = torch.arange(len(batch.row), device=count.device) - (count.cumsum(0) - count)[batch.row]
    step = batch.features.new_zeros(rows, n, n)
    a, b = batch.ends
    there = torch.ones_like(a, dtype=step.dtype) if batch.joins is None else batch.joins
    row, i, j = batch.row[a], place[a], place[b]
    step = step.index_put((row, i, j), there, accumulate=True).index_put((row, j, i), there, accumulate=True)
    here = torch.ones_like(place, dtype=step.dtype) if batch.present is None else batch.present
    front = step.new_zeros(rows, n, n).index_put((batch.row, place, place), here)  # pairs at the distance d
    reached, found = front, []
    for d in range(furthest + 1):
        found.append((front / front.sum(2, keepdim=True).clamp_min(1)).sum(1)[batch.row, place])
        if d == furthest or (not exporting and not bool(front.any())):
            break
        front = ((front @ step) > 0).to(step.dtype) * (1 - reached)
        reached = reached + front
    found += [torch.zeros_like(found[0])] * (furthest + 1 - len(found))
    return torch.stack(found, 1)


def centre_counts(batch: GraphBatch, furthest: int) -> Tensor:
    """(N, D) for each node j and d = 0 … D - 1: [d_0j = d] / #_0(d), of the distances from the first node of an input.

    See `distance_counts`, of which this is the term of one node i.
    """
    at = nn.functional.one_hot(batch.distances(furthest), furthest + 2)[:, :-1].to(batch.features)
    at = at if batch.present is None else at * batch.present[:, None]
    return at / batch.pool(at).clamp_min(1).index_select(0, batch.row)


class Counts:
    """Counts of graphs by distance, remembered, because a training reads the same graphs in every epoch.

    Args:
        domain: of the graphs.
        furthest: largest distance, see `distance_counts`.
        most: numbers to remember; beyond that all are forgotten.
    """

    def __init__(self, domain: GraphDomain, furthest: int, most: int = 2**24) -> None:
        self.domain, self.furthest, self.most = domain, furthest, most
        self.held, self.known = 0, dict[bytes, Tensor]()

    def __call__(self, x: Tensor, batch: GraphBatch) -> Tensor:
        """Counts (N, D) of the nodes of inputs (B, n + m, W).

        Args:
            x: the inputs.
            batch: the same inputs as graphs.
        """
        if batch.present is not None:  # a program that is traced remembers nothing
            return distance_counts(batch, self.furthest)
        rows = x[..., :3].detach().cpu().float().contiguous().numpy()
        keys = [row.tobytes() for row in rows]
        if missing := [i for i, key in enumerate(keys) if key not in self.known]:
            part = GraphBatch.of(x[missing], self.domain)
            counts = distance_counts(part, self.furthest).cpu()
            sizes = torch.bincount(part.row, minlength=len(missing)).tolist()
            if self.held + counts.numel() > self.most:
                self.known, self.held = {}, 0
                missing, counts = list(range(len(keys))), distance_counts(batch, self.furthest).cpu()
                sizes = torch.bincount(batch.row, minlength=len(keys)).tolist()
            self.held += counts.numel()
            self.known |= {keys[i]: count for i, count in zip(missing, counts.split(sizes), strict=True)}
        return torch.cat([self.known[key] for key in keys]).to(batch.features)
