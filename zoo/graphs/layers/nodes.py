"""Models whose units are the nodes of a graph: the score is a sum over them."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, GraphDomain
from zoo.networks.encoders import create_encoder
from zoo.networks.gin import GIN
from zoo.networks.graph_batch import GraphBatch
from zoo.networks.target_units import in_target_units
from zoo.training.recipe import Recipe
from zoo.training.tasks import score_space
from zoo.utils.checks import check_at_least


def graphs_of(domain: Domain, model: str, of_nodes: bool = False) -> GraphDomain:
    """The domain of a model of graphs.

    Args:
        domain: of the model.
        model: its name, for messages.
        of_nodes: whether it can answer for a node of a network.

    Raises:
        ValueError: it is of another modality, or asks about nodes.
    """
    if not isinstance(domain, GraphDomain):
        raise ValueError(f"{model} reads graphs; got a domain of {domain.noun}.")
    if domain.radius is not None and not of_nodes:
        raise ValueError(f"{model} answers for graphs, and this data asks about nodes; use SumGIN, GSAT or GNAN.")
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
        score = b + Σ_i W_d(i) h_i                   where node 0 is asked about: d(i) its distance, 0 ... `rings`

    With `rings` of 0 that is message passing, whose only term is the node itself. If `rings` and the layers add up to
    the radius of the domain, or less, the score is the same as on the complete network.

    Args:
        domain: of the graphs.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, and those of the subclass.
        backbone: options of `zoo.networks.gin.GIN`, without `hidden`.
        default_recipe: in place of the class's own, where it depends on the constructor's arguments.
        rings: distance up to which nodes count, where a node is asked about.

    Raises:
        ValueError: a domain of another modality, a backbone with layers after the sum, or a negative number of rings.
    """

    tasks = ("classification", "multilabel", "regression")
    backbone: GIN

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        recipe: Recipe | None = None,
        backbone: dict[str, Any] | None = None,
        default_recipe: Recipe | None = None,
        rings: int = 0,
    ) -> None:
        super().__init__(domain, recipe, default_recipe=default_recipe)
        name = type(self).__name__
        check_at_least(0, rings=rings)
        self.graphs = graphs_of(self.domain, name, of_nodes=True)
        self.rings = None if self.graphs.radius is None else rings
        self.backbone = create_trunk(backbone, self.graphs, name, "needs a score that is a sum over nodes")
        width = self.backbone.channels * (1 + (self.rings or 0))
        self.head = in_target_units(nn.Linear(width, len(self.domain.classes)), self.domain)
        self.space = score_space(self.domain)

    def node_evidence(self, states: Tensor, batch: GraphBatch, gates: Tensor | None = None) -> Evidence:
        """The evidence of node states (N, D); supports are each node and the gates (E,) of its edges."""
        counts = states.new_ones(states.shape[0])
        if self.rings is not None:
            ring = F.one_hot(batch.distances(self.rings), self.rings + 2)[:, :-1].to(states)  # (N, rings + 1)
            counts, states = ring.sum(1), (ring[:, :, None] * states[:, None]).flatten(1)
        votes = self.head(states) - self.head.bias  # (N, C)
        activation = batch.per_node(counts)
        state = {"unit_logits": batch.per_node(votes), "bias": self.head.bias.expand(batch.size[0], -1)}
        support = None if self.training else batch.nodes_and_edges(gates)
        return Evidence(activation, support, state)

    def units(self) -> tuple[Unit, ...]:
        names = [f"node {i}" for i in range(self.graphs.nodes)]
        if self.rings is not None:
            names[0] = "node 0 (asked about)"
        return tuple(Unit(name, "node") for name in names)

    def statements(self, terms: Any) -> tuple[str, ...]:
        far = f"{self.backbone.reach} edge{'s' if self.backbone.reach > 1 else ''}"
        return (f"The contribution of a node depends on all nodes at most {far} away.",) * len(terms["activation"])
