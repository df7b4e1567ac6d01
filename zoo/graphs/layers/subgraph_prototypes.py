"""Prototypes that are compared with the vector of a graph, and projected onto subgraphs of training graphs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.core.unit_cache import UnitCache
from zoo.domain import GraphDomain
from zoo.graphs.layers.stored_subgraphs import StoredSubgraphs
from zoo.graphs.layers.subgraph_search import Embed, Subgraph, nearest_subgraph
from zoo.training.projection_set import ProjectionSet
from zoo.training.push_rule import PushRule
from zoo.training.stages import Stage
from zoo.utils.functional import at_least_fp32, log_similarity

EPSILON = 1e-4  # of the similarity
SAME = 1e-8  # squared distance, relative to the squared length, below which two prototypes are copies


class SubgraphPrototypes(nn.Module):
    """C·Q vectors, Q of each class, and the subgraphs of training graphs that they were projected onto.

    Parameter: `vectors` (P, D). Buffers: `alive` (P,) bool, False for copies that were merged · `pushed`, whether all
    prototypes are subgraphs of training graphs · `stored`, these subgraphs.

    Args:
        domain: of the graphs.
        per_class: Q.
        dim: D.
        sizes: the smallest and the largest number of nodes of a subgraph.
        beam: see `zoo.graphs.layers.subgraph_search.nearest_subgraph`.
        graphs: training graphs of its class in which the subgraph of a prototype is searched, the nearest ones.
    """

    alive: Tensor
    pushed: Tensor

    def __init__(
        self, domain: GraphDomain, per_class: int, dim: int, sizes: tuple[int, int], beam: int, graphs: int
    ) -> None:
        super().__init__()
        count = len(domain.classes) * per_class
        self.domain, self.per_class = domain, per_class
        self.sizes, self.beam, self.graphs = sizes, beam, graphs
        self.vectors = nn.Parameter(torch.rand(count, dim))
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))
        self.register_buffer("pushed", torch.tensor(False))
        self.stored = StoredSubgraphs(count, 1, domain)
        self.rule = PushRule("subgraphs of training graphs", ("head",))
        self._units = UnitCache()

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances (B, P) of vectors (B, D) to all prototypes.

        They are differences, because the logarithm magnifies the rounding of an expanded product 1e4-fold near 0.
        """
        return (at_least_fp32(z)[:, None] - self.vectors).square().sum(2)

    def similarity(self, distances: Tensor) -> Tensor:
        """log((d + 1) / (d + ε)); 0 for prototypes that are not alive."""
        return log_similarity(distances, EPSILON) * self.alive

    def project(self, projection_set: ProjectionSet, embed: Embed) -> None:
        """Replaces each prototype by the embedding of the nearest subgraph of training graphs of its class.

        Searched are the graphs whose own embeddings are nearest.

        Args:
            projection_set: the training set, this rank's share.
            embed: inputs to vectors.

        Raises:
            ValueError: a class has no training graphs.
        """
        distances, targets = (projection_set.gather(one) for one in self._compare(projection_set, embed))
        for c, name in enumerate(self.domain.classes):
            if not bool((targets == c).any()):
                raise ValueError(f"class {name} has no training graph, with a node, to take prototypes from.")
        if projection_set.rank == 0:  # its state is sent to all ranks
            for j in range(len(self.vectors)):
                own = (targets == j // self.per_class).nonzero().flatten()
                near = own[distances[own, j].sort(stable=True).indices[: self.graphs]].tolist()
                found = [self._search(projection_set.input(i), j, embed) for i in near]
                best = min(range(len(near)), key=lambda i: found[i].distance)
                self.stored.store(j, 0, found[best].rows, near[best], projection_set.name(near[best]))
                self.vectors[j] = found[best].vector
        self.alive.fill_(True)
        self.pushed.fill_(True)

    def _compare(self, projection_set: ProjectionSet, embed: Embed) -> tuple[Tensor, Tensor]:
        """Distances (N, P) of training graphs, and their classes (N,), -1 of graphs without nodes."""
        distances, targets = [self.vectors[:0, 0].expand(len(self.vectors), 0).T], [self.stored.index[:0, 0]]
        for batch in projection_set:
            distances.append(self.distances(embed(batch["input"])))
            present = (batch["input"][:, : self.domain.nodes, 0] > 0).any(1)
            targets.append(torch.where(present, batch["target"], -1))
        return torch.cat(distances), torch.cat(targets)

    def _search(self, x: Tensor, prototype: int, embed: Embed) -> Subgraph:
        return nearest_subgraph(x, self.vectors[prototype].detach().clone(), embed, self.domain, self.sizes, self.beam)

    def merge_copies(self, weight: Tensor) -> None:
        """Leaves one of the prototypes of a class that are the same vector; it gets their weights (C, P), in place."""
        scale = self.vectors.square().sum(1)
        same = (self.vectors[:, None] - self.vectors).square().sum(2) <= SAME * torch.maximum(scale[:, None], scale)
        owner = torch.arange(len(scale), device=scale.device) // self.per_class
        first = (same & (owner[:, None] == owner) & self.alive).to(torch.uint8).argmax(1)  # the lowest number
        moved = torch.zeros_like(weight).index_add(1, first, weight * self.alive)
        weight.copy_(moved)
        self.alive.logical_and_(first == torch.arange(len(first), device=first.device))

    def units(self) -> tuple[Unit, ...]:
        """One unit for each prototype, with its subgraph in `source`."""

        def build() -> list[Unit]:
            made = []
            for j, alive in enumerate(self.alive.tolist()):
                target, place = divmod(j, self.per_class)
                source = {"subgraphs": found} if (found := self.stored.sources(j)) else {}
                source |= {} if alive else {"pruned": True}
                made.append(Unit(f"{self.domain.classes[target]} #{place + 1}", "prototype", target, source))
            return made

        return self._units.get((self.stored.index, self.stored.rows, self.alive), build)

    def require_pushed(self) -> None:
        """Refuses to explain with prototypes that are not subgraphs, see `PushRule.require`."""
        self.rule.require(bool(self.pushed))

    def check_recipe(self, stages: Sequence[Stage]) -> None:
        """Refuses a recipe after which they are not subgraphs, see `PushRule.check_recipe`."""
        self.rule.check_recipe(stages)

    def on_stage_start(self, stage: Stage) -> None:
        """Marks the prototypes as not projected if the stage trains more than the head."""
        if self.rule.undone_by(stage):
            self.pushed.fill_(False)
