"""Graph isomorphism networks.

Xu, Hu, Leskovec, Jegelka: "How Powerful are Graph Neural Networks?", ICLR 2019, arXiv 1810.00826. With features of
edges as in Hu et al.: "Strategies for Pre-training Graph Neural Networks", ICLR 2020, arXiv 1905.12265.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from zoo.domain import GraphDomain
from zoo.networks.base import Encoder
from zoo.networks.graph_batch import GraphBatch, aggregate
from zoo.utils.checks import check_at_least, check_between


class GIN(Encoder):
    """Sums over neighbours, a small network after each: one state for each node, and their sum for each graph.

        h_i = W x_i + b                                    (D)
        h_i ← ReLU(MLP(h_i + Σ_j a_ij h_j))                `layers` times; a_ij = 1 without gates
        z = Σ_i h_i                                        (D), the vector of the graph; h_0 where node 0 is asked about

    MLP is linear, batch norm, ReLU, linear. With features e of edges a message is ReLU(h_j + V e_ij) instead of h_j.

    Args:
        domain: of the graphs.
        width: D.
        layers: number of layers, so that a state depends on nodes at most that many edges away.
        dropout: in [0, 1), after each layer.
        hidden: widths of an MLP after the sum; then `channels` is the last of them. A linear score of the sum is a sum
            over nodes only without.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        domain: GraphDomain,
        width: int = 64,
        layers: int = 2,
        dropout: float = 0.0,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        check_at_least(1, width=width, layers=layers, **{f"hidden[{i}]": size for i, size in enumerate(hidden)})
        check_between(0, 0.99, dropout=dropout)
        self.domain, self.reach = domain, layers
        self.width, self.channels = width, [width, *hidden][-1]
        self.embed = nn.Linear(1 + len(domain.features), width)
        attributes = len(domain.edge_features)
        self.edges = nn.Linear(attributes, width, bias=False) if attributes else None
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        sizes = [width, *hidden]
        self.after = nn.Sequential(
            *(layer for i, size in enumerate(hidden) for layer in (nn.Linear(sizes[i], size), nn.ReLU()))
        )

    def nodes(self, batch: GraphBatch, gates: Tensor | None = None) -> Tensor:
        """States (N, D) of the nodes.

        Args:
            batch: the graphs.
            gates: (E,) by which the messages along each edge are multiplied.
        """
        h = self.embed(batch.features)
        edges = None if self.edges is None else self.edges(batch.attributes)
        for layer in self.layers:
            h = self.dropout(layer(h + aggregate(h, batch, gates, edges)))
        return h

    def vectors(self, batch: GraphBatch, gates: Tensor | None = None) -> Tensor:
        """Vectors z (B, D) of the graphs; see `nodes`."""
        states = self.nodes(batch, gates)
        return batch.pool(states) if self.domain.radius is None else batch.centres(states)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.vectors(GraphBatch.of(x, self.domain)))
