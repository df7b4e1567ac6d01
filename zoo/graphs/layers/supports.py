"""Supports of units that fire at nodes: an edge counts as much as the lesser of its ends."""

import torch
from torch import Tensor

from zoo.networks.graph_batch import GraphBatch


def with_edges(values: Tensor, batch: GraphBatch) -> Tensor:
    """Supports (B, K, n + m) from values (B, K, n) of nodes."""
    flat = values.mT.flatten(0, 1)  # (B n, K)
    first, second = batch.slot[batch.ends]  # among the B n
    return torch.cat([values, batch.per_edge(torch.minimum(flat[first], flat[second])).mT], 2)
