"""KerGNN: small learned graphs are compared with the surroundings of each node by a random-walk kernel.

Feng, Chen, Wang, Souvenir: "KerGNNs: Interpretable Graph Neural Networks with Graph Kernels", AAAI 2022, arXiv
2201.00491.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain
from zoo.domain.graph_text import IS
from zoo.graphs.layers.nodes import graphs_of
from zoo.graphs.layers.supports import with_edges
from zoo.graphs.layers.walk_kernel import GraphFilters, balls, kernel
from zoo.networks.graph_batch import GraphBatch
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_choice

RECIPE = Recipe(
    stages=(Stage("train", epochs=60, train=("embed", "filters", "norm", "head"), cosine=True),),
    lr=1e-2,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
LARGEST = 2**26  # numbers of one graph's walks
FAINT = 0.05  # of the largest weight of a filter: lighter edges are not drawn


@register(
    "kergnn",
    modality="graph",
    paper="Feng et al., AAAI 2022",
    small=Small({"filters": 3, "filter_nodes": 3, "width": 3, "steps": 2}),
)
class KerGNN(SelfInterpretable):
    """Scores a graph by how much the surroundings of its nodes look like small graphs that are learned.

        X_i = ReLU(V x_i + v)                                       (D)     of each node
        k_if = mean_p mean_(u, v) <Z_u, X_v> <(A_f^p Z)_u, (A_i^p X)_v>     p = 1 … P; u in filter f, v near node i
        a_if = ReLU(BatchNorm(k_if))                                (F)
        n_f = Σ_i a_if, or the mean                                         the activation
        score = W n + b                                             (C)

    A filter f is a graph of `filter_nodes` nodes with features Z and edges ReLU(A_f); A_i are the edges between the
    nodes at most `hops` edges from node i. The kernel compares all walks of P steps in both graphs. Every step takes an
    edge, so that a filter is about edges.

    Units are filters, which pages draw: the bolder an edge, the larger its weight, and a node is called after the
    category whose features are most like its own. Supports of a filter are the nodes, a_if relative to the largest; an
    edge counts as its lesser end. Directions and features of edges are not read.

    Differs from the published code: one layer and one linear layer on the sum over nodes, so that the score is a sum
    over filters (there: MLPs on several layers); P steps of at least one edge (there by default none); all nodes in
    reach (there: the first ten); no dropout.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        filters: F.
        filter_nodes: nodes of a filter, at least 2.
        width: D.
        hops: reach of the surroundings.
        steps: P.
        pooling: "sum" or "mean" over the nodes.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: embed, filters, norm, head.

    Raises:
        ValueError: inputs other than graphs, graphs that are too large, or an option out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")
    weighs_rows = True
    head: nn.Linear

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        filters: int = 8,
        filter_nodes: int = 6,
        width: int = 16,
        hops: int = 2,
        steps: int = 3,
        pooling: str = "sum",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.graphs = graphs_of(self.domain, "KerGNN")
        check_at_least(1, filters=filters, width=width, hops=hops, steps=steps)
        check_at_least(2, filter_nodes=filter_nodes)
        check_choice(("sum", "mean"), pooling=pooling)
        if (numbers := self.graphs.nodes**2 * width) > LARGEST:
            raise ValueError(
                f"KerGNN computes walks around every node, {numbers:,} numbers for a graph of {self.graphs.nodes:,} "
                f"nodes; the limit is {LARGEST:,}. Use smaller graphs, or a smaller width."
            )
        self.hops, self.steps, self.pooling = hops, steps, pooling
        self.embed = nn.Linear(1 + len(self.graphs.features), width)
        self.filters = GraphFilters(filters, filter_nodes, width)
        self.norm = nn.BatchNorm1d(filters)
        self.head = in_target_units(nn.Linear(filters, len(self.domain.classes)), self.domain)
        self.space = score_space(self.domain)
        self._units = UnitCache()

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        states = batch.per_node(self.embed(batch.features).relu())
        near, joined = balls(batch, self.hops)
        found = kernel(states, near, joined, self.filters.walks(self.steps)).flatten(0, 1)  # (B n, F)
        fires = batch.per_node(self.norm(found.index_select(0, batch.slot)).relu())  # (B, n, F)
        activation = fires.sum(1)
        if self.pooling == "mean":
            activation = activation / x[:, : self.graphs.nodes, :1].gt(0).sum(1).clamp_min(1)
        if self.training:
            return Evidence(activation)
        support = fires / fires.amax(1, keepdim=True).clamp_min(torch.finfo(fires.dtype).tiny)
        return Evidence(activation, with_edges(support.mT, batch))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights = (batch.get("class_weights"), batch.get("weight"))
        return {"task": task_loss(scores, batch["target"], self.domain, *weights)}

    # Filters

    def units(self) -> tuple[Unit, ...]:
        def build() -> list[Unit]:
            drawn = self._drawn()
            return [Unit(f"filter {f + 1}", "filter", None, {"subgraphs": [part]}) for f, part in enumerate(drawn)]

        return self._units.get((self.filters.features, self.filters.weights, self.embed.weight, self.embed.bias), build)

    @torch.no_grad()
    def _drawn(self) -> list[dict[str, Any]]:
        """The filters as plain data, see `zoo.views.subgraphs`."""
        adjacency, parts = self.filters.adjacency().cpu(), []
        for edges, names in zip(adjacency, self._names(), strict=True):
            most = float(edges.max())
            kept = (edges.triu(1) > FAINT * most).nonzero().tolist() if most > 0 else []
            parts.append(
                {
                    "caption": "learned; bold edges weigh most",
                    "nodes": names,
                    "edges": kept,
                    "weights": [round(float(edges[a, b]) / most, 3) for a, b in kept],
                }
            )
        return parts

    def _names(self) -> list[list[str]]:
        """Names of the nodes of each filter: the category whose embedding is most like the features, or a number."""
        count = self.filters.features.shape[1]
        columns = [k for k, name in enumerate(self.graphs.features) if IS in name]
        numbers = [str(u + 1) for u in range(count)]
        if not columns:
            return [numbers] * len(self.filters.features)
        raw = torch.zeros(len(columns), 1 + len(self.graphs.features), device=self.embed.weight.device)
        raw[:, 0] = 1.0
        raw[range(len(columns)), [1 + k for k in columns]] = 1.0
        known = nn.functional.normalize(self.embed(raw).relu(), dim=1)
        alike = (nn.functional.normalize(self.filters.features, dim=2) @ known.T).argmax(2).tolist()  # (F, q)
        levels = [self.graphs.features[k].rpartition(IS)[2] for k in columns]
        return [[levels[k] for k in one] for one in alike]
