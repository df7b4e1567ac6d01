"""Groups of constructor arguments of the sparse transformer, and the check of its sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zoo.circuits.network.layout import SITES
from zoo.utils.checks import check_at_least, check_choice

BASE_WIDTH = 256  # wider networks have denser embeddings by default, in proportion to their width


@dataclass(frozen=True)
class Sparsity:
    """How many weights and activations of a network are non-zero."""

    density: float = 1 / 32
    """Share of non-zeros in every matrix of the blocks, in (0, 1]."""
    embedding_density: float | None = None
    """Share of non-zeros in embedding and unembedding; by default `density` times max(1, width / 256)."""
    activation_density: float = 0.25
    """Share of the entries that AbsTopK keeps at each of the `sites`, in (0, 1]."""
    sites: Sequence[str] = SITES
    """Sites at which AbsTopK is applied; by default all eight."""
    alive: int = 4
    """Smallest number of non-zero weights of each neuron and attention channel."""
    biases: bool = False
    """Whether biases are sparse too, with the density of the embeddings; the published script keeps them dense."""
    power: bool = False
    """Whether the density is annealed by a power law, log density linear in log step, instead of linearly."""

    def __post_init__(self) -> None:
        for name in ("density", "embedding_density", "activation_density"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be in (0, 1]; got {share}.")
        check_at_least(0, alive=self.alive)
        object.__setattr__(self, "sites", tuple(self.sites))  # a checkpoint holds a list
        for site in self.sites:
            check_choice(SITES, **{"sparsity.sites": site})

    def densities(self, width: int) -> tuple[float, float]:
        """Final densities of the matrices of the blocks, and of embedding and unembedding."""
        wide = min(1.0, self.density * max(1.0, width / BASE_WIDTH))
        return self.density, wide if self.embedding_density is None else self.embedding_density


@dataclass(frozen=True)
class Positions:
    """Position channels that every sublayer can read and none can write, or position embeddings.

    Each sublayer normalises the channels with its own norm and reads them next to the residual stream; AbsTopK selects
    among both. The table of channels is always dense.
    """

    kind: Literal["learned", "sinusoid", "added"] = "learned"
    """Learned channels; sines and cosines; or learned vectors that are added to the token embeddings."""
    width: int = 32
    """Number of channels; vectors that are added have the width of the residual stream."""

    def __post_init__(self) -> None:
        check_choice(("learned", "sinusoid", "added"), **{"positions.kind": self.kind})
        check_at_least(1, **{"positions.width": self.width})


def check_sizes(width: int, layers: int, head_width: int, expansion: int) -> None:
    """Checks the sizes of a transformer.

    Raises:
        ValueError: a size is less than 1, or `width` is not a multiple of `head_width`.
    """
    if min(width, layers, head_width, expansion) < 1 or width % head_width:
        raise ValueError(
            f"width must be a multiple of head_width, and layers and expansion at least 1; got width={width}, "
            f"head_width={head_width}, layers={layers}, expansion={expansion}."
        )
