"""Parts of training graphs that show what units stand for, in buffers that travel with the weights."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import GraphDomain

NAME_BYTES = 96


class StoredSubgraphs(nn.Module):
    """N parts of training graphs for each of K units.

    Buffers: `rows` (K, N, n + m, W) each as an input without the other nodes · `index` (K, N) number of the training
    graph, -1 where there is none · `centre` (K, N) number of the node that the part surrounds, -1 without · `name`
    (K, N, 96) of the graph in UTF-8, of a longer name the end.

    Args:
        units: K.
        count: N.
        domain: of the graphs.
    """

    rows: Tensor
    index: Tensor
    centre: Tensor
    name: Tensor

    def __init__(self, units: int, count: int, domain: GraphDomain) -> None:
        super().__init__()
        self.domain, self.count = domain, count
        self.register_buffer("rows", torch.zeros(units, count, *domain.shape))
        self.register_buffer("index", torch.full((units, count), -1))
        self.register_buffer("centre", torch.full((units, count), -1))
        self.register_buffer("name", torch.zeros(units, count, NAME_BYTES, dtype=torch.uint8))

    def clear(self) -> None:
        """Removes all parts."""
        self.index.fill_(-1)

    def reset_parameters(self) -> None:
        """Removes all parts, because those of a network with other weights are not known."""
        self.clear()

    def store(self, unit: int, place: int, rows: Tensor, index: int, name: str, centre: int = -1) -> None:
        """Stores part `place` of a unit.

        Args:
            unit: number of the unit.
            place: from 0 to N - 1.
            rows: (n + m, W).
            index: number of the training graph.
            name: of the training graph.
            centre: number of the node that it surrounds.
        """
        text = name.encode()[-NAME_BYTES:].ljust(NAME_BYTES, b"\0")
        self.rows[unit, place], self.index[unit, place], self.centre[unit, place] = rows, index, centre
        self.name[unit, place] = torch.tensor(list(text), dtype=torch.uint8)

    def sources(self, unit: int) -> list[dict[str, Any]]:
        """The parts of a unit as plain data.

        Each has the name of the "graph", its "index", the names of "nodes", "edges" as pairs of positions among them,
        and the position "centre" where there is one.
        """
        found = []
        for place, index in enumerate(self.index[unit].tolist()):
            if index < 0:
                continue
            graph, centre = self.domain.graph(self.rows[unit, place]), int(self.centre[unit, place])
            name = bytes(self.name[unit, place].tolist()).rstrip(b"\0").decode(errors="replace")
            part = {"graph": name, "index": index, "nodes": list(graph.names), "edges": [list(e) for e in graph.ends]}
            found.append(part | ({"centre": graph.nodes.index(centre)} if centre >= 0 else {}))
        return found
