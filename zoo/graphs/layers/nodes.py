"""Models whose units are the nodes of a graph: the score is a sum over them."""

from typing import Any

from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, GraphDomain
from zoo.networks.encoders import create_encoder
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch
from zoo.networks.target_units import in_target_units
from zoo.training.recipe import Recipe
from zoo.training.tasks import score_space


def graphs_of(domain: Domain, model: str) -> GraphDomain:
    """The domain of a model of graphs.

    Raises:
        ValueError: it is of another modality.
    """
    if not isinstance(domain, GraphDomain):
        raise ValueError(f"{model} reads graphs; got a domain of {domain.noun}.")
    return domain


def create_trunk(
    options: dict[str, Any] | None, domain: GraphDomain, model: str, why: str = "reads the states of nodes"
) -> GIN:
    """A graph network without layers after the sum over nodes; `why` the model needs that.

    Raises:
        ValueError: `options` ask for layers after the sum over nodes.
    """
    options = {"name": "gin", **(options or {})}
    if options.get("hidden"):
        raise ValueError(f"{model} {why}; leave out `hidden` of the backbone.")
    encoder = create_encoder(options, domain)
    assert isinstance(encoder, GIN)
    return encoder


class NodeSum(UnitLogits):
    """A graph network, a linear layer on the state of each node, and the sum over the nodes.

        score = b + Σ_i W h_i                        h (n, D) the states of the nodes

    Args:
        domain: of the graphs.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, and those of the subclass.
        backbone: options of `zoo.networks.gin.GIN`, without `hidden`.
        default_recipe: in place of the class's own, where it depends on the constructor's arguments.

    Raises:
        ValueError: a domain of another modality, or a backbone with layers after the sum.
    """

    tasks = ("classification", "multilabel", "regression")
    backbone: GIN

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        recipe: Recipe | None = None,
        backbone: dict[str, Any] | None = None,
        default_recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe, default_recipe=default_recipe)
        self.graphs = graphs_of(self.domain, type(self).__name__)
        name = type(self).__name__
        self.backbone = create_trunk(backbone, self.graphs, name, "needs a score that is a sum over nodes")
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(self.domain.classes)), self.domain)
        self.space = score_space(self.domain)

    def node_evidence(self, states: Tensor, batch: GraphBatch, gates: Tensor | None = None) -> Evidence:
        """The evidence of node states (N, D); supports are each node and the gates (E,) of its edges."""
        votes = self.head(states) - self.head.bias  # (N, C)
        activation = batch.per_node(votes.new_ones(votes.shape[0]))
        state = {"unit_logits": batch.per_node(votes), "bias": self.head.bias.expand(batch.size[0], -1)}
        support = None if self.training else batch.nodes_and_edges(gates)
        return Evidence(activation, support, state)

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(f"node {i}", "node") for i in range(self.graphs.nodes))

    def statements(self, terms: Any) -> tuple[str, ...]:
        far = f"{self.backbone.reach} edge{'s' if self.backbone.reach > 1 else ''}"
        return (f"The contribution of a node depends on all nodes at most {far} away.",) * len(terms["activation"])
