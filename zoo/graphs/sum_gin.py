"""A graph isomorphism network whose score is a sum over nodes.

Xu, Hu, Leskovec, Jegelka: "How Powerful are Graph Neural Networks?", ICLR 2019, arXiv 1810.00826.
"""

from typing import Any

from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.graphs.layers.nodes import NodeSum
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(Stage("train", epochs=50, train=("backbone", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register("sum_gin", modality="graph", paper="Xu et al., ICLR 2019", small=Small({"backbone": {"width": 4}}))
class SumGIN(NodeSum):
    """Message passing, a linear score of each node, and their sum: exactly one contribution for each node.

        h = GIN(x)                                   (n, D)    see `zoo.networks.gin.GIN`
        score = b + Σ_i W h_i                        (C)

    Where a node of a network is asked about, the sum is over this node and those at most `rings` edges away, with one W
    for each distance: score = b + Σ_i W_d(i) h_i; `rings` of 0 is message passing, with the node as its only unit.

    Every node is a unit of activation 1 (0 if the graph has no such node), whose logits are W h_i. They tell at which
    nodes the score arises; what they depend on is the part of the graph around the node that `layers` rounds of
    messages reach. Removing a unit holds the states of the others; removing a node from the graph changes them.

    Differs from the published code: the sum is over the states of the last layer, and a linear layer gives the score
    (there: the sums of all layers, each with an MLP, which is no sum over nodes).

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        backbone: options of `zoo.networks.gin.GIN`: width, layers, dropout.
        rings: distance from the node that is asked about up to which nodes count; not used where graphs are.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head.

    Raises:
        ValueError: inputs other than graphs, or an option out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        rings: int = 1,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe, backbone, rings=rings)
        self.keep_arguments(locals())

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        return self.node_evidence(self.backbone.nodes(batch), batch)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights = (batch.get("class_weights"), batch.get("weight"))
        return {"task": task_loss(scores, batch["target"], self.domain, *weights)}
