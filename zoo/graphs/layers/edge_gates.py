"""Gates on edges: a network that gives each edge a probability, and how well these rank the edges that matter."""

from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.networks.graph_batch import GraphBatch
from zoo.training.ranking import Ranking
from zoo.utils.checks import check_at_least, check_between
from zoo.utils.functional import area_under_roc


class EdgeGates(nn.Module):
    """The log-odds of each edge, from the states of its two nodes.

        [h_i + h_j, |h_i - h_j|]  (2 D)  →  k D  →  D  →  1      with normalisation over the edges of a graph, ReLU

    of a directed edge [h_i, h_j].

    Args:
        width: D.
        factor: k.
        dropout: in [0, 1), after the two hidden layers.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, width: int, factor: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        check_at_least(1, factor=factor)
        check_between(0, 0.99, dropout=dropout)
        self.first, self.second = nn.Linear(2 * width, factor * width), nn.Linear(factor * width, width)
        self.last, self.dropout = nn.Linear(width, 1), nn.Dropout(dropout)

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Log-odds (E,) from states (N, D) of nodes."""
        a, b = states.index_select(0, batch.ends[0]), states.index_select(0, batch.ends[1])
        pairs = torch.cat([a, b] if batch.directed else [a + b, (a - b).abs()], 1)
        for layer in (self.first, self.second):
            pairs = self.dropout(batch.normalise_edges(layer(pairs)).relu())
        return self.last(pairs)[:, 0]


class PooledEdgeAUC(Ranking):
    """Area under the ROC curve of gates, over the edges of all graphs together."""

    title, chance = "edge AUC, pooled", 0.5

    def compute(self) -> Tensor:
        return super().compute()[0, 0]


class GraphEdgeAUC(Metric):
    """Area under the ROC curve of gates, the mean over graphs with edges of both kinds; NaN if there are none."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    title, chance = "edge AUC, mean over graphs", 0.5
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, gates: Tensor, labels: Tensor) -> None:
        """Adds gates (B, m), and labels (B, m) in {0, 1, NaN}, NaN for absent edges."""
        area = area_under_roc(gates.T, labels.T)
        self.total += area.nan_to_num(0.0).sum()
        self.count += area.isfinite().sum()

    def compute(self) -> Tensor:
        return self.total / self.count


def edge_metrics() -> nn.ModuleDict:
    """Both areas for "val" and "test"."""
    return nn.ModuleDict(
        {
            split: nn.ModuleDict({"edge_auc": PooledEdgeAUC(), "edge_auc_by_graph": GraphEdgeAUC()})
            for split in ("val_edges", "test_edges")
        }
    )


def update_edge_metrics(
    metrics: nn.ModuleDict, split: str, values: Tensor, present: Tensor, regions: Tensor
) -> dict[str, Metric]:
    """Updates both areas of a split, "val" or "test", and returns them by name.

    Args:
        metrics: see `edge_metrics`.
        split: "val" or "test".
        values: (B, m) by which edges are ranked.
        present: (B, m) 1, or 0 for absent edges.
        regions: (B, R, n + m), 1 for the nodes and edges that matter; rows without such an edge do not count.
    """
    edges = regions[..., regions.shape[-1] - values.shape[1] :].amax(1)  # (B, m)
    labels = edges.float().masked_fill((present == 0) | (edges.amax(1, keepdim=True) == 0), torch.nan)
    own, ranked = cast(nn.ModuleDict, metrics[f"{split}_edges"]), values.detach()
    pooled, each = cast(PooledEdgeAUC, own["edge_auc"]), cast(GraphEdgeAUC, own["edge_auc_by_graph"])
    pooled.update(ranked.flatten()[:, None], labels.flatten()[:, None])
    each.update(ranked, labels)
    return {"edge_auc": pooled, "edge_auc_by_graph": each}
