"""Data modules of the nodes of networks: an input is the part of the network around a node."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.items import Items
from zoo.domain import GraphDomain
from zoo.domain.graph import LARGEST
from zoo.domain.surroundings import Network
from zoo.utils.checks import check_at_least

REMEMBERED = 20_000  # nodes whose surroundings are kept in memory


@dataclass(frozen=True, eq=False)
class NodeNetwork:
    """A network whose nodes are asked about.

    Attributes:
        features: (N, F) of the nodes, raw values.
        ends: (M, 2) the nodes of each edge, without loops and repetitions.
        attributes: (M, A) of the edges, raw values.
        radius: of the surroundings that are read.
    """

    features: Tensor
    ends: Tensor
    attributes: Tensor
    radius: int

    @cached_property
    def walks(self) -> Network:
        """The neighbours of each node."""
        return Network(len(self.features), self.ends.tolist())

    @cached_property
    def _known(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def around(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the nodes and edges around a node, see `Network.around`; those of the first nodes are kept."""
        if (found := self._known.get(node)) is None:
            found = self.walks.around(node, self.radius)
            if len(self._known) < REMEMBERED:
                self._known[node] = found
        return found

    def size(self, nodes: Sequence[int]) -> tuple[int, int]:
        """The largest numbers of nodes and of edges around some nodes."""
        sizes = [(len(found[0]), len(found[1])) for found in map(self.around, nodes)]
        return max(size[0] for size in sizes), max(size[1] for size in sizes)

    def input(self, node: int, domain: GraphDomain) -> Tensor:
        """The input (n + m, W) that asks about a node."""
        nodes, edges = self.around(node)
        place = np.zeros(len(self.features), dtype=np.int64)
        place[nodes] = np.arange(len(nodes))
        ends = torch.from_numpy(place[self.walks.ends[edges]])
        ends = ends if domain.directed else ends.sort(1).values
        return domain.rows_of(self.features[nodes], ends, self.attributes[edges])


class NodeItems(Items):
    """Some nodes of a network.

    Args:
        network: the network.
        domain: of the inputs.
        nodes: numbers of the N nodes.
        targets: (N,) classes, or (N, 1) values.
        names: N names.
    """

    def __init__(
        self, network: NodeNetwork, domain: GraphDomain, nodes: Sequence[int], targets: Tensor, names: Sequence[str]
    ) -> None:
        self.network, self.domain, self.nodes = network, domain, list(nodes)
        self.targets, self.names = targets, list(names)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.network.input(self.nodes[i], self.domain), "target": self.targets[i]}

    def name(self, i: int) -> str:
        """Name of item i."""
        return self.names[i]


def with_room(domain: GraphDomain, network: NodeNetwork, nodes: Sequence[int]) -> GraphDomain:
    """The domain with room for the surroundings of some nodes, whatever room it has.

    Raises:
        ValueError: they are larger than any input.
    """
    check_at_least(1, radius=network.radius)
    most = network.size(nodes)
    if max(most) > LARGEST:
        raise ValueError(
            f"with a radius of {network.radius} the surroundings of a node have up to {most[0]:,} nodes and "
            f"{most[1]:,} edges; an input has room for {LARGEST:,} of each. Use a smaller `radius`."
        )
    return replace(domain, nodes=most[0], edges=most[1], radius=network.radius)
