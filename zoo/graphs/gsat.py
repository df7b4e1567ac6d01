"""Graph stochastic attention: edges are kept with learned probabilities, which an information term pulls to a prior.

Miao, Liu, Li: "Interpretable and Generalizable Graph Learning via Stochastic Attention Mechanism", ICML 2022,
arXiv 2201.12987.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.graphs.layers.edge_gates import EdgeGates, edge_metrics, update_edge_metrics
from zoo.graphs.layers.nodes import NodeSum
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least, check_between
from zoo.utils.signatures import check_options, refuse_unknown

GROUPS = ("backbone", "extractor", "head")
RECIPE = Recipe(
    stages=(Stage("anneal", epochs=40, train=GROUPS), Stage("train", epochs=20, train=GROUPS)),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "information": 1.0},
)
PRIOR = {"start": 0.9, "final": 0.5, "step": 0.1, "every": 10}
TINY = 1e-6


@register("gsat", modality="graph", paper="Miao, Liu, Li, ICML 2022", small=Small({"backbone": {"width": 4}}))
class GSAT(NodeSum):
    """Edges are gated by learned probabilities; the score is a sum over the nodes of the gated graph.

        h = GIN(x)                                   (n, D)    see `zoo.networks.gin.GIN`
        ω_e = extractor(h_i, h_j)                    (m)       see `zoo.graphs.layers.edge_gates.EdgeGates`
        a_e = σ(ω_e + log u - log(1 - u))            (m)       u uniform in training; σ(ω_e) otherwise
        g = GIN(x, a)                                (n, D)    the same network; a message along e counts a_e times
        score = b + Σ_i W g_i                        (C)       b + W g_0 where node 0 of a network is asked about

        loss = task + 1.0 information
        information = mean_e a log(a / r) + (1 - a) log((1 - a) / (1 - r))
        r = max(final, start - step ⌊epoch / every⌋)           0.9, 0.8, ... 0.5 by default

    Units are nodes, and contributions are exact; the gates are the supports of edges. Gates are no contributions: they
    tell how much of an edge is used, and nothing compels them to 0, so no subgraph follows from a threshold. A
    selector can encode its answer in its gates. The area under the ROC curve of the gates is measured where the edges
    that matter are known, over all graphs and as a mean over graphs; it rises and falls with r, partly at the expense
    of the accuracy.

    Only epochs of the last stage compete for the best one; in it r must have reached its final value.

    Differs from the published code: an edge has one gate, one draw and one term of the loss for both directions (there:
    two, then averaged), from the sum and the difference of its nodes' states (there: from both in turn); batch norm
    keeps one set of running statistics for both passes, as there.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        backbone: options of `zoo.networks.gin.GIN`: width, layers, dropout (0.3 by default).
        extractor: options of `zoo.graphs.layers.edge_gates.EdgeGates`: factor (4) and dropout (0.5).
        prior: `start`, `final`, `step` and `every` (epochs) of r; what is left out is as above.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, extractor, head.

    Raises:
        ValueError: inputs other than graphs, or an option out of range.
        TypeError: an unknown option of the extractor or the prior.
    """

    default_recipe = RECIPE
    extractor: EdgeGates
    edge_metrics: nn.ModuleDict

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        extractor: dict[str, Any] | None = None,
        prior: dict[str, float] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe, {"dropout": 0.3, **(backbone or {})})
        self.keep_arguments(locals())
        check_options(EdgeGates, extractor or {}, "extractor")
        refuse_unknown(prior or {}, PRIOR, "prior")
        self.prior = {**PRIOR, **(prior or {})}
        check_between(0.01, 0.99, start=self.prior["start"], final=self.prior["final"])
        check_at_least(1, every=self.prior["every"])
        check_at_least(0, step=self.prior["step"])
        self.extractor = EdgeGates(self.backbone.width, **(extractor or {}))
        self.edge_metrics = edge_metrics()

    def r(self, epoch: int) -> float:
        """The prior probability of an edge in an epoch, counted from 0."""
        falling = self.prior["start"] - self.prior["step"] * math.floor(epoch / self.prior["every"])
        return max(self.prior["final"], falling)

    def check_recipe(self) -> None:
        before = self.max_epochs - self.stages[-1].epochs
        if self.r(before) > self.prior["final"] + 1e-9:
            raise ValueError(
                f"the last stage begins after {before} epochs, when r is still {self.r(before):.2g}; its final value "
                f"is {self.prior['final']:.2g}. Make the stages before it longer, or change `prior`."
            )

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        odds = self.extractor(self.backbone.nodes(batch), batch)
        if self.training:
            u = torch.rand_like(odds).clamp(1e-10, 1 - 1e-7)
            odds = odds + u.log() - (1 - u).log()
        gates = odds.sigmoid()
        evidence = self.node_evidence(self.backbone.nodes(batch, gates), batch, gates)
        evidence.state["gates"], evidence.state["edges"] = batch.per_edge(gates), batch.per_edge(torch.ones_like(gates))
        return evidence

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        a, present, r = evidence.state["gates"], evidence.state["edges"], self.r(self.current_epoch)
        kept, left = a * torch.log(a / r + TINY), (1 - a) * torch.log((1 - a) / (1 - r + TINY) + TINY)
        return {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "information": ((kept + left) * present).sum() / present.sum().clamp_min(1),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        if split == "train" or "regions" not in batch:
            return found
        gates, edges = evidence.state["gates"], evidence.state["edges"]
        return {**found, **update_edge_metrics(self.edge_metrics, split, gates, edges, batch["regions"])}
