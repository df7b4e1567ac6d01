"""ProtGNN: this graph looks like that subgraph.

Zhang, Liu, Wang, Lu, Lee: "ProtGNN: Towards Self-Explaining Graph Neural Networks", AAAI 2022, arXiv 2112.00911.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.graphs.layers.nodes import create_trunk, graphs_of
from zoo.graphs.layers.subgraph_prototypes import SubgraphPrototypes
from zoo.graphs.layers.supports import with_edges
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(
        Stage("warm", epochs=10, train=("backbone", "prototypes")),
        Stage("joint", epochs=40, train=("backbone", "prototypes", "head")),
        Stage("push"),
        Stage("joint", epochs=20, train=("backbone", "prototypes", "head")),
        Stage("push"),
        Stage("prune"),
        Stage("last", epochs=20, train=("head",)),
    ),
    lr=5e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"cross_entropy": 1.0, "cluster": 0.1, "separation": 0.05, "l1": 5e-4},
)
MARGIN = 10.0  # squared distance from which a prototype of another class is far enough: its similarity is 0.1
TIE = 1e-5  # states that differ less, relative to 1 + the largest, are equally large


@register(
    "protgnn",
    modality="graph",
    paper="Zhang et al., AAAI 2022",
    small=Small({"backbone": {"width": 8}, "prototypes_per_class": 1, "sizes": [2, 3], "graphs": 1}),
)
class ProtGNN(SelfInterpretable):
    """Scores classes by how much a graph looks like subgraphs of training graphs.

        z = max over nodes of GIN(x)                    (D)    see `zoo.networks.gin.GIN`
        d_j = |z - p_j|²                                (P)    P = C·Q prototypes, Q for each class
        g_j = log((d_j + 1) / (d_j + ε))                       the activation, ε = 1e-4
        score_c = Σ_j W[c, j] g_j                              no bias; W starts at +1 own class, -0.5 others

        loss = cross-entropy + 0.1 cluster + 0.05 separation + 5e-4 l1
        cluster    = mean over graphs of the smallest d_j of the own class
        separation = -mean over graphs of the smallest min(d_j, 10) of other classes
        l1         = Σ |W[c, j]| over prototypes j of other classes

    `push` replaces each prototype by the vector of a connected subgraph of a training graph of its class: the nearest
    of those that grow node by node in the training graphs nearest to it. All other nodes are removed, so that the
    vector is that of the subgraph as an input of its own. `prune`, after a push, merges prototypes of a class that are
    the same vector (subgraphs of the same form), which leaves all scores unchanged.

    Supports of a prototype are nodes: node i counts Σ min(z_d, p_d) over the dimensions d whose largest state is its
    own, relative to the largest node; an edge counts as its lesser end. They tell which nodes made z alike to the
    prototype. A state depends on its surroundings, and the rest of the graph keeps z from being the vector of a part
    of it, so a graph that contains a prototype is near to it, and not equal.

    Differs from the published code: subgraphs are searched by growth, of all training graphs the nearest ones (there:
    Monte Carlo tree search in ten graphs that depend on the prototype's number); outside nodes are removed (there:
    their features are set to 0, and their edges stay); distances to other classes count up to 10 (there: without
    bound); there is no diversity term (there: of weight 0); GIN as here, with batch norm. Variants with a classifier of
    z besides the prototypes, whose score they do not explain, are not offered.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        backbone: options of `zoo.networks.gin.GIN`: width, layers, dropout.
        prototypes_per_class: Q.
        sizes: smallest and largest number of nodes of a prototype's subgraph.
        beam: subgraphs of one size that are grown further; with more of them more subgraphs are compared.
        graphs: how many training graphs are searched for each prototype.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, prototypes, head.

    Raises:
        ValueError: inputs other than graphs, or an option out of range.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    tasks = ("classification",)
    head: nn.Linear
    own: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        prototypes_per_class: int = 5,
        sizes: Sequence[int] = (3, 8),
        beam: int = 32,
        graphs: int = 10,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.graphs = graphs_of(self.domain, "ProtGNN")
        check_at_least(1, prototypes_per_class=prototypes_per_class, beam=beam, graphs=graphs)
        if len(sizes) != 2 or not 1 <= sizes[0] <= sizes[1]:
            raise ValueError(
                f"sizes are the smallest and the largest number of nodes of a subgraph, such as [3, 8]; got {sizes}."
            )
        self.backbone = create_trunk(backbone, self.graphs, "ProtGNN")
        limits = (sizes[0], sizes[1])
        self.prototypes = SubgraphPrototypes(
            self.graphs, prototypes_per_class, self.backbone.channels, limits, beam, graphs
        )
        classes, count = len(self.domain.classes), len(self.prototypes.vectors)
        self.head = nn.Linear(count, classes, bias=False)
        own = F.one_hot(torch.arange(count) // prototypes_per_class, classes).T.bool()  # (C, P)
        with torch.no_grad():
            self.head.weight.copy_(torch.where(own, 1.0, -0.5))
        self.register_buffer("own", own, persistent=False)

    # The computation

    def embed(self, x: Tensor) -> Tensor:
        """Graphs as vectors (B, D)."""
        batch = GraphBatch.of(x, self.graphs)
        return self._states(batch).amax(1)

    def _states(self, batch: GraphBatch) -> Tensor:
        """States (B, n, D), at least 0, and 0 for absent nodes, which therefore do not count in a maximum."""
        return at_least_fp32(batch.per_node(self.backbone.nodes(batch)))

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        states = self._states(batch)
        z = states.amax(1)
        distance = self.prototypes.distances(z)
        support = None if self.training else self._support(states, z, batch)
        return Evidence(self.prototypes.similarity(distance), support, {"distance": distance})

    def _support(self, states: Tensor, z: Tensor, batch: GraphBatch) -> Tensor:
        """Supports (B, P, n + m), see above; nodes that share a maximum share its dimension."""
        tied = ((states >= (z - TIE * (1 + z))[:, None]) & (states > 0)).to(states.dtype)  # (B, n, D)
        share = tied / tied.sum(1, keepdim=True).clamp_min(1)
        common = torch.minimum(z[:, None], self.prototypes.vectors).clamp_min(0)  # (B, P, D)
        nodes = torch.einsum("bnd,bpd->bpn", share, common)
        nodes = (nodes / nodes.amax(2, keepdim=True).clamp_min(1e-12)).clamp(0, 1)
        return with_edges(nodes * self.prototypes.alive[:, None], batch)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        own, alive = self.own[batch["target"]], self.prototypes.alive
        distance = evidence.state["distance"].masked_fill(~alive, torch.inf)
        return {
            "cross_entropy": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "cluster": distance.masked_fill(~own, torch.inf).amin(1).mean(),
            "separation": -distance.masked_fill(own, torch.inf).amin(1).clamp_max(MARGIN).mean(),
            "l1": self.head.weight.masked_fill(self.own | ~alive, 0).abs().sum(),
        }

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        return self.prototypes.units()

    def require_ready(self) -> None:
        self.prototypes.require_pushed()

    def check_recipe(self) -> None:
        self.prototypes.check_recipe(self.stages)

    def on_stage_start(self, stage: Stage) -> None:
        self.prototypes.on_stage_start(stage)

    @action
    def push(self, projection_set: ProjectionSet) -> None:
        """Projects the prototypes onto connected subgraphs of training graphs of their classes."""
        self.prototypes.project(projection_set, self.embed)

    @action
    def prune(self, projection_set: ProjectionSet) -> None:
        """Merges prototypes of a class that are the same vector."""
        self.require_ready()
        self.prototypes.merge_copies(self.head.weight)
