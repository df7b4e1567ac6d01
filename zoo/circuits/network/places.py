"""Places of a transformer at which values can be changed, by name: nodes, channels, heads, sites and edges."""

import re
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from zoo.circuits.network.edges import MATRICES, weight_matrices
from zoo.circuits.network.layout import SITES
from zoo.circuits.network.trace import GATHERED
from zoo.circuits.network.transformer import SparseNetwork

CHANNEL_SITES = ("attn_in", "attn_out", "mlp_in", "mlp_out")  # of the channels of the residual stream
ARROW = "->"
FORMS = (
    "'layer 0 attn_out 17' (a node), 'layer 0 neuron 17', 'layer 0 head 1', 'layer 0 head 1 channel 3', "
    "'layer 0 channel 17' or 'channel 17' (of the residual stream), 'layer 0 attn_out' (a site), or "
    "'layer 0 attn_in 3 -> layer 0 attn_q 5' (an edge)"
)


@dataclass(frozen=True, eq=False)
class Place:
    """Values of a site, or edges of a matrix.

    Attributes:
        layer: index of the block.
        site: of the values; for edges, the site that the matrix reads. It may be "gathered".
        index: (k,) positions of the values in their site.
        matrix: name of the matrix of edges, or None.
        row: (k,) outputs of the matrix that the edges lead to.
        weight: (k,) weights of the edges.
    """

    layer: int
    site: str
    index: Tensor
    matrix: str | None = None
    row: Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.long))
    weight: Tensor = field(default_factory=partial(torch.empty, 0))

    def to(self, device: torch.device | str) -> "Place":
        """The same with its tensors on another device."""
        return replace(self, index=self.index.to(device), row=self.row.to(device), weight=self.weight.to(device))


def find_places(network: SparseNetwork, name: str) -> list[Place]:
    """The places of a name.

    A head is what it gathers, and "head 1 channel 3" one of its channels; a channel of the residual stream is that
    channel wherever it is read and written: attn_in, attn_out, mlp_in and mlp_out.

    Raises:
        ValueError: no such form of a name, or no such place; the message lists the forms.
    """
    if ARROW in name:
        return [_edge(network, name)]
    layout, sizes = network.layout, network.layout.sizes
    found = re.fullmatch(r"(?:layer (\d+) ?)?(?:(head) (\d+) ?)?(?:(\w+)(?: (\d+))?)?", name.strip())
    if found is None:
        raise _unknown(name)
    layer, head, which, site, index = found.groups()
    layers = range(layout.layers) if layer is None else [int(layer)]
    if layer is not None and int(layer) >= layout.layers:
        raise ValueError(f"there is no '{name}'; layers are 0 to {layout.layers - 1}.")
    if head is not None and layer is not None and (site is None or (site == "channel" and index is not None)):
        heads = network.blocks[0].heads
        size = layout.width // heads
        if int(which) >= heads or int(index or 0) >= size:
            raise ValueError(f"there is no '{name}'; heads are 0 to {heads - 1}, each with channels 0 to {size - 1}.")
        first = int(which) * size
        chosen = torch.arange(first, first + size) if index is None else torch.tensor([first + int(index)])
        return [Place(int(layer), GATHERED, chosen)]
    if head is None and site == "channel" and index is not None:
        _check_index(name, int(index), layout.width)
        return [Place(at, one, torch.tensor([int(index)])) for at in layers for one in CHANNEL_SITES]
    site = "mlp_neuron" if site == "neuron" else site
    if head is not None or layer is None or site not in SITES:
        raise _unknown(name)
    if index is None:
        return [Place(int(layer), site, torch.arange(sizes[site]))]
    _check_index(name, int(index), sizes[site])
    return [Place(int(layer), site, torch.tensor([int(index)]))]


def _edge(network: SparseNetwork, name: str) -> Place:
    ends = [find_places(network, end) for end in name.split(ARROW, 1)]
    if any(len(places) != 1 or places[0].matrix or len(places[0].index) != 1 for places in ends):
        raise ValueError(
            f"an edge leads from one node to another, as 'layer 0 attn_in 3 -> layer 0 attn_q 5'; got '{name}'."
        )
    (start,), (end,) = ends
    for matrix in weight_matrices(network):
        _, reads, writes = next(known for known in MATRICES if known[0] == matrix.name)
        if matrix.layer == start.layer == end.layer and reads == start.site and end.site in writes:
            column = start.index
            row = end.index + network.layout.width * writes.index(end.site)
            weight = matrix.linear.weight.detach()[row, column]
            if not bool(weight.any()):
                raise ValueError(f"there is no edge '{name}': the weight between these nodes is 0.")
            site = GATHERED if matrix.name == "out" else reads
            return Place(matrix.layer, site, column, matrix.name, row, weight)
    pairs = ", ".join(f"{reads} -> {writes}" for _, reads, several in MATRICES for writes in several)
    raise ValueError(f"no matrix connects the nodes of '{name}'; edges are, within a layer, {pairs}.")


def _check_index(name: str, index: int, size: int) -> None:
    if index >= size:
        raise ValueError(f"there is no '{name}'; its number may be 0 to {size - 1}.")


def _unknown(name: str) -> ValueError:
    return ValueError(f"no place is named '{name}'; names are like {FORMS}.")
