"""The nodes of a transformer: coordinates of the eight sites of each block."""

import re
from dataclasses import dataclass

SITES = ("attn_in", "attn_q", "attn_k", "attn_v", "attn_out", "mlp_in", "mlp_neuron", "mlp_out")


@dataclass(frozen=True)
class Layout:
    """Order of the nodes of a block in one flat vector. A node is one coordinate of one of the eight sites.

    Attributes:
        layers: number of blocks L.
        width: width d of the residual stream.
        neurons: hidden units of each MLP.
    """

    layers: int
    width: int
    neurons: int

    @property
    def sizes(self) -> dict[str, int]:
        """Number of nodes of each site."""
        return {site: self.neurons if site == "mlp_neuron" else self.width for site in SITES}

    @property
    def nodes(self) -> int:
        """Number of nodes N of a block."""
        return sum(self.sizes.values())

    def part(self, site: str) -> slice:
        """Positions of the nodes of a site among those of its block.

        Raises:
            ValueError: unknown site.
        """
        start = 0
        for name, size in self.sizes.items():
            if name == site:
                return slice(start, start + size)
            start += size
        raise ValueError(f"there is no site '{site}'; sites: {', '.join(SITES)}.")

    def locate(self, node: int) -> tuple[int, str, int]:
        """Layer, site and coordinate of a node, which is numbered through all layers.

        Raises:
            ValueError: the number is out of range.
        """
        layer, rest = divmod(node, self.nodes)
        for site in SITES:
            part = self.part(site)
            if 0 <= layer < self.layers and part.start <= rest < part.stop:
                return layer, site, rest - part.start
        raise ValueError(f"node {node} is out of range; there are {self.layers * self.nodes} nodes, counted from 0.")

    def number(self, name: str) -> int:
        """Number of a node by its name, such as "layer 0 attn_out 17".

        Raises:
            ValueError: not such a name, or no such node.
        """
        found = re.fullmatch(r"layer (\d+) (\w+) (\d+)", name.strip())
        if found is None:
            raise ValueError(f"a node is named like 'layer 0 attn_out 17'; got '{name}'.")
        layer, site, index = int(found[1]), found[2], int(found[3])
        part = self.part(site)
        if layer >= self.layers or index >= self.sizes[site]:
            raise ValueError(
                f"there is no node '{name}'; layers are 0 to {self.layers - 1}, nodes of {site} 0 to "
                f"{self.sizes[site] - 1}."
            )
        return layer * self.nodes + part.start + index

    def name(self, node: int) -> str:
        """Name of a node, such as "layer 0 attn_out 17"."""
        layer, site, index = self.locate(node)
        return f"layer {layer} {site} {index}"
