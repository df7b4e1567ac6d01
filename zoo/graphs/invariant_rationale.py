"""Rationales of graphs: a share of the edges is kept, and the score is a sum over the nodes of what is left.

Wu, Wang, Zhang, He, Chua: "Discovering Invariant Rationales for Graph Neural Networks", ICLR 2022, arXiv 2201.12872
(DIR); Sui, Wang, Wu, Lin, He, Chua: "Causal Attention for Interpretable and Generalizable Graph Classification", KDD
2022, arXiv 2112.15089 (CAL).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.graphs.layers.edge_choice import EdgeChoice, touched
from zoo.graphs.layers.edge_gates import edge_metrics, update_edge_metrics
from zoo.graphs.layers.nodes import NodeSum, graphs_of
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_above, check_between, check_choice

GROUPS = ("backbone", "choice", "head")
TERMS = {"none": {}, "dir": {"intervened": 1.0, "variance": 1.0}, "cal": {"uniform": 0.5, "backdoor": 0.5}}
RECIPE = Recipe(
    stages=(Stage("train", epochs=30, train=GROUPS),),
    lr=5e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "invariant_rationale",
    modality="graph",
    paper="Wu et al., ICLR 2022",
    small=Small({"backbone": {"width": 4}, "share": 0.5}),
)
class InvariantRationale(NodeSum):
    """Keeps a share of the edges and sums the scores of the nodes between them: one contribution for each node.

        o_e = choice(x)                              (m)       see `zoo.graphs.layers.edge_choice.EdgeChoice`
        k_e = 1 for the ⌈share · m⌉ edges of highest o_e, else 0; in training with logistic noise added to o_e
        g = GIN(x, k)                                (n, D)    of the raw features; messages along kept edges only
        score = b + Σ_i W g_i                        (C)       over the nodes at the ends of kept edges

    The choice is 0 or 1, in training as well; backwards it has the gradient of σ(o_e). Nothing of an edge or node that
    is left out reaches the score, except by the choice itself, in which a selector can encode its answer.

    Terms besides the task, from the rest r of the graph (the other edges, and the same network):

        regulariser "dir":  with s_j = V Σ_i r_i + v of graph j, R_j the cross-entropy of the batch for scores ⊙ σ(s_j):
            intervened = ramp · mean_j R_j,  variance = ramp · Var_j R_j,  shortcut = cross-entropy of s
            ramp = min(1, 0.01 epoch^1.6); V learns from `shortcut` alone, and the networks do not learn from s
        regulariser "cal":  uniform = KL(uniform, softmax s),  backdoor = cross-entropy of score_i + s_j, j another

    Where the edges that matter are known, the area under the ROC curve of o is measured, over all graphs and per graph.

    Differs from the published codes: the predictor reads the raw features on the kept edges (DIR: the embeddings of the
    network that chooses, which have seen the rest); choices are 0 or 1 (there: weights, and in CAL every edge in both
    parts), with noise in training (there: without); sums over nodes and linear heads; DIR takes a step for each batch
    (there: one for each epoch), and its variance is not multiplied by the squared batch size; ramp at most 1.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs with classes.
        backbone: options of `zoo.networks.gin.GIN` for both networks: width, layers, dropout.
        share: of edges that are kept, rounded up, in (0, 1].
        regulariser: "none", "dir" or "cal".
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, choice, head, and shortcut with a
            regulariser.

    Raises:
        ValueError: inputs other than graphs, or an option out of range.
    """

    edge_metrics: nn.ModuleDict
    default_recipe = replace(RECIPE, coefficients={"task": 1.0, "shortcut": 1.0, **TERMS["dir"], **TERMS["cal"]})
    tasks = ("classification",)

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        share: float = 0.25,
        regulariser: str = "dir",
        recipe: Recipe | None = None,
    ) -> None:
        check_choice(TERMS, regulariser=regulariser)
        super().__init__(domain, recipe, backbone, _recipe(regulariser))
        self.keep_arguments(locals())
        graphs_of(self.domain, "InvariantRationale")
        check_above(0, share=share)
        check_between(0, 1, share=share)
        self.regulariser = regulariser
        self.choice = EdgeChoice(self.graphs, backbone, share)
        self.edge_metrics = edge_metrics()
        classes = len(self.domain.classes)
        self.shortcut = None if regulariser == "none" else nn.Linear(self.backbone.channels, classes)

    # The computation

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        odds = self.choice.odds(batch)
        if self.training:
            u = torch.rand_like(odds).clamp(1e-10, 1 - 1e-7)
            odds = odds + u.log() - (1 - u).log()
        kept = self.choice.kept(odds, batch)
        hard = kept.flatten().index_select(0, batch.place)  # (E,)
        gates = hard + odds.sigmoid() - odds.sigmoid().detach() if self.training else hard
        evidence = self.node_evidence(self.backbone.nodes(batch, gates), batch, hard)
        there = batch.per_node(touched(hard, batch))
        evidence.activation = evidence.activation * there
        if evidence.support is not None:
            evidence.support = evidence.support * there[:, :, None]
        evidence.state |= {"odds": batch.per_edge(odds), "edges": batch.per_edge(torch.ones_like(odds)), "kept": kept}
        if self.shortcut is not None:
            evidence.state["rest"] = self._rest(batch, 1 - gates, 1 - hard)
        return evidence

    def _rest(self, batch: GraphBatch, gates: Tensor, hard: Tensor) -> Tensor:
        """The vector (B, D) of the edges that are left out."""
        joins = hard if batch.joins is None else hard * batch.joins
        states = self.backbone.nodes(batch, gates) * touched(joins, batch)[:, None]
        return batch.pool(states)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, weights = batch["target"], batch.get("class_weights")
        terms = {"task": task_loss(scores, target, self.domain, weights)}
        if self.shortcut is None:
            return terms
        rest = evidence.state["rest"]
        if self.regulariser == "cal":
            context = self.shortcut(rest)
            # KL of the uniform distribution from that of the rest, and the score with the rest of another graph.
            uniform = -context.log_softmax(1).mean() - torch.tensor(float(context.shape[1])).log()
            backdoor = F.cross_entropy(scores + context.roll(1, 0), target, weights)
            return {**terms, "uniform": uniform, "backdoor": backdoor}
        context = self.shortcut(rest.detach())
        risk = self._risks(scores, context.sigmoid().detach(), target)
        ramp = min(1.0, 0.01 * self.current_epoch**1.6)
        return {
            **terms,
            "shortcut": F.cross_entropy(context, target, weights),
            "intervened": ramp * risk.mean(),
            "variance": ramp * risk.var(correction=0),
        }

    @staticmethod
    def _risks(scores: Tensor, rest: Tensor, target: Tensor) -> Tensor:
        """(B,) cross-entropy of all rationales under the rest of each graph."""
        mixed = scores[None] * rest[:, None]  # (B rests, B rationales, C)
        chosen = mixed.log_softmax(2).gather(2, target[None, :, None].expand(len(rest), -1, 1))
        return -chosen[..., 0].mean(1)

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        if split == "train" or "regions" not in batch:
            return found
        odds, edges = evidence.state["odds"], evidence.state["edges"]
        return {**found, **update_edge_metrics(self.edge_metrics, split, odds, edges, batch["regions"])}


def _recipe(regulariser: str) -> Recipe:
    """The recipe with the terms of a regulariser, and its group."""
    if regulariser == "none":
        return RECIPE
    own = {**TERMS[regulariser], **({"shortcut": 1.0} if regulariser == "dir" else {})}
    groups = (*GROUPS, "shortcut")
    stages = (Stage("train", epochs=30, train=groups),)
    if regulariser == "dir":  # epochs before the ramp has risen have other losses, and do not compete for the best
        stages = (Stage("anneal", epochs=18, train=groups), Stage("train", epochs=12, train=groups))
    return replace(RECIPE, stages=stages, coefficients={"task": 1.0, **own})
