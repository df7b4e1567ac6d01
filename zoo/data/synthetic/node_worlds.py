"""The base of generated networks whose nodes have classes with known evidence."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.networks import NodeItems, NodeNetwork, with_room
from zoo.data.base.sampling import stratified_split
from zoo.data.synthetic.benchmark import EvidenceItems, SyntheticBenchmark
from zoo.data.synthetic.graph_parts import Pairs
from zoo.domain import GraphDomain
from zoo.utils.checks import check_at_least

HELD_OUT = 0.2  # of the nodes, half of them for the test


@dataclass(frozen=True)
class Roles:
    """A generated network.

    Attributes:
        features: F numbers of each node.
        pairs: its edges.
        labels: class of each node.
        evidence: of each node, the numbers of the edges that make its class; empty where they are not known.
    """

    features: list[list[float]]
    pairs: Pairs
    labels: list[int]
    evidence: list[list[int]]


class NodeWorld(SyntheticBenchmark):
    """The base of worlds of nodes: one network, whose nodes are split at random.

    Batches have "regions" (1, n + m) that mark the edges of the evidence and the nodes that they join; they are 0 for
    nodes whose evidence is not known. 80 % of the nodes are for training, 10 % for validation and 10 % for the test,
    of each class; surroundings contain nodes of all splits, whose labels are not in the input.

    Args:
        radius: of the surroundings that are read.
        **loading: the options of `DataModule`.
    """

    classes: tuple[str, ...]
    features: tuple[str, ...] = ()
    factors = ("evidence",)
    ceiling = 1.0

    def __init__(self, radius: int, **loading: Any) -> None:
        super().__init__(**loading)
        check_at_least(1, radius=radius)
        self.radius = radius

    def make(self, random: Random) -> Roles:
        """Generates the network."""
        raise NotImplementedError("a world of nodes defines make()")

    @cached_property
    def made(self) -> Roles:
        """The network with its labels and evidence."""
        return self.make(Random(self.seed))

    @cached_property
    def network(self) -> NodeNetwork:
        """The network as tensors."""
        count = len(self.made.pairs)
        features = torch.tensor(self.made.features).view(len(self.made.labels), -1)
        return NodeNetwork(features, torch.tensor(self.made.pairs), torch.zeros(count, 0), self.radius)

    @cached_property
    def _domain(self) -> GraphDomain:
        empty = GraphDomain(classes=self.classes, features=self.features, nodes=1, edges=0)
        return with_room(empty, self.network, range(len(self.made.labels)))

    def make_domain(self) -> GraphDomain:
        return self._domain

    @cached_property
    def counts(self) -> dict[str, int]:
        return {split: len(items) for split, items in self._splits.items()}

    @cached_property
    def _splits(self) -> dict[str, EvidenceItems]:
        labels = torch.tensor(self.made.labels)
        train, held = stratified_split(labels, HELD_OUT, self.seed)
        val, test = (torch.tensor(held)[part].tolist() for part in stratified_split(labels[held], 0.5, self.seed))
        evidence = self.made.evidence
        return {
            split: NodesWithEvidence(
                self.network, self._domain, nodes, labels[nodes], [f"node {i}" for i in nodes], evidence
            )
            for split, nodes in {"train": train, "val": val, "test": test}.items()
        }


class NodesWithEvidence(NodeItems, EvidenceItems):
    """Nodes with the edges that are known to make their class.

    Args:
        network, domain, nodes, targets, names: see `NodeItems`.
        evidence: numbers of the edges, of each node of the network.
    """

    factors = ("evidence",)

    def __init__(
        self,
        network: NodeNetwork,
        domain: GraphDomain,
        nodes: Sequence[int],
        targets: Tensor,
        names: Sequence[str],
        evidence: Sequence[Sequence[int]],
    ) -> None:
        super().__init__(network, domain, nodes, targets, names)
        self.evidence = evidence

    def __getitem__(self, i: int) -> dict[str, Any]:
        return super().__getitem__(i) | {"regions": self.region(i)[None]}

    def region(self, i: int) -> Tensor:
        """(n + m,) 1 for the edges of the evidence of item i, and the nodes that they join."""
        centre = self.nodes[i]
        nodes, edges = (found.tolist() for found in self.network.around(centre))
        region, wanted = torch.zeros(self.domain.shape[0]), set(self.evidence[centre])
        ends = {end for e in wanted for end in self.network.ends[e].tolist()}
        region[[k for k, node in enumerate(nodes) if node in ends]] = 1.0
        region[[self.domain.nodes + k for k, e in enumerate(edges) if e in wanted]] = 1.0
        return region

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        """Inputs of some rows; without "evidence", its edges are removed, and the nodes stay."""
        found = []
        for i in rows:
            x = self.network.input(self.nodes[i], self.domain)
            removed = self.region(i) if factors else torch.zeros(len(x))
            removed[: self.domain.nodes] = 0
            found.append(torch.where(removed[:, None] > 0, 0.0, x))
        return torch.stack(found)
