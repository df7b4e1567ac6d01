"""A network that ranks the edges of a graph and keeps a share of them."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import GraphDomain
from zoo.graphs.layers.edge_gates import EdgeGates
from zoo.graphs.layers.nodes import create_trunk
from zoo.networks.graph_batch import GraphBatch
from zoo.utils.functional import at_least_fp32, tied


class EdgeChoice(nn.Module):
    """Scores edges by the states of their ends, and keeps those of highest score.

        o_e = gate(h_i, h_j)            see `zoo.graphs.layers.edge_gates.EdgeGates`; h from a GIN of its own

    Args:
        domain: of the graphs.
        backbone: options of `zoo.networks.gin.GIN`.
        share: of the edges of a graph that are kept, rounded up, in (0, 1].
    """

    def __init__(self, domain: GraphDomain, backbone: dict[str, Any] | None, share: float) -> None:
        super().__init__()
        self.share = share
        self.trunk = create_trunk(backbone, domain, "EdgeChoice")
        self.score = EdgeGates(self.trunk.channels, factor=1, dropout=0.0)

    def odds(self, batch: GraphBatch) -> Tensor:
        """Scores (E,) of edges."""
        return at_least_fp32(self.score(self.trunk.nodes(batch), batch))

    def kept(self, odds: Tensor, batch: GraphBatch) -> Tensor:
        """(B, m) 1 for the ⌈share · edges⌉ edges of highest score of each graph, else 0; ties to lower numbers."""
        there = batch.per_edge(torch.ones_like(odds))
        order = (
            batch.per_edge(tied(odds))
            .masked_fill(there == 0, -torch.inf)
            .sort(dim=1, descending=True, stable=True)
            .indices
        )
        count = torch.ceil(self.share * there.sum(1, keepdim=True) - 1e-6)
        return torch.zeros_like(there).scatter(
            1, order, (torch.arange(there.shape[1], device=odds.device) < count).to(odds.dtype)
        )


def touched(edges: Tensor, batch: GraphBatch) -> Tensor:
    """(N,) 1 for the nodes at the end of an edge whose weight (E,) is above 0, else 0."""
    used = (edges > 0).to(batch.features.dtype).repeat(2)
    return torch.zeros_like(batch.features[:, 0]).scatter_reduce(0, batch.ends.flatten(), used, "amax")
