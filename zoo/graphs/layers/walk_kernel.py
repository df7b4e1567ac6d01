"""Random-walk kernels between the surroundings of nodes and small learned graphs.

Feng, Chen, Wang, Souvenir: "KerGNNs: Interpretable Graph Neural Networks with Graph Kernels", AAAI 2022, arXiv
2201.00491.
"""

import torch
from torch import Tensor, nn

from zoo.networks.graph_batch import GraphBatch


class GraphFilters(nn.Module):
    """F learned graphs of q nodes: features Z (F, q, D) and edges ReLU(A), symmetric and without loops.

    Args:
        count: F.
        nodes: q.
        dim: D.
    """

    upper: Tensor

    def __init__(self, count: int, nodes: int, dim: int) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.rand(count, nodes, dim))
        self.weights = nn.Parameter(torch.rand(count, nodes * (nodes - 1) // 2))
        self.register_buffer("upper", torch.triu_indices(nodes, nodes, 1), persistent=False)

    def adjacency(self) -> Tensor:
        """(F, q, q) weights of the edges, at least 0."""
        count, nodes, _ = self.features.shape
        half = self.weights.new_zeros(count, nodes, nodes)
        half = half.index_put((torch.arange(count, device=half.device)[:, None], *self.upper), self.weights.relu())
        return half + half.mT

    def walks(self, steps: int) -> Tensor:
        """(P, F, D, D) Σ_u Z_u (A^p Z)_uᵀ / q for p = 1 … P: all that the kernel needs to know of a filter."""
        adjacency, ahead, found = self.adjacency(), self.features, []
        for _ in range(steps):
            ahead = adjacency @ ahead
            found.append(self.features.mT @ ahead / self.features.shape[1])
        return torch.stack(found)


def balls(batch: GraphBatch, hops: int) -> tuple[Tensor, Tensor]:
    """Which nodes are at most `hops` edges from each node (B, n, n), and which are joined (B, n, n); 1 or 0."""
    rows, n, _ = batch.size
    joined = batch.features.new_zeros(rows, n, n)
    place = batch.slot - batch.row * n
    a, b = batch.ends
    row, i, j = batch.row[a], place[a], place[b]
    there = torch.ones_like(a, dtype=joined.dtype) if batch.joins is None else batch.joins
    joined = joined.index_put((row, i, j), there, accumulate=True).index_put((row, j, i), there, accumulate=True)
    joined = (joined > 0).to(joined.dtype)
    here = torch.ones_like(place, dtype=joined.dtype) if batch.present is None else batch.present
    near = joined.new_zeros(rows, n, n).index_put((batch.row, place, place), here)
    for _ in range(hops):
        near = ((near + near @ joined) > 0).to(joined.dtype)
    return near, joined


def kernel(states: Tensor, near: Tensor, joined: Tensor, walks: Tensor) -> Tensor:
    """(B, n, F) the kernel of the surroundings of each node and each filter.

        k = mean_p mean_(u, v) <Z_u, X_v> <(A_f^p Z)_u, (A_s^p X)_v>        u in the filter, v in the surroundings

    Summed over u first and over v first, this is the product of two matrices (D, D) for each p.

    Args:
        states: X (B, n, D).
        near: (B, n, n) see `balls`.
        joined: (B, n, n) see `balls`.
        walks: (P, F, D, D) of the filters.
    """
    size = near.sum(2).clamp_min(1)[..., None, None]
    ahead = near[..., None] * states[:, None]  # (B, n, n, D): of centre i at node v
    total = states.new_zeros(*states.shape[:2], walks.shape[1])
    for walk in walks:
        ahead = near[..., None] * torch.einsum("bvw,biwd->bivd", joined, ahead)
        pairs = torch.einsum("bvd,bive->bide", states, ahead) / size
        total = total + torch.einsum("fde,bide->bif", walk, pairs)
    return total / len(walks)
