"""Principal components of the channels of a frozen backbone, over all patches of the training images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.prototypes.layers.selection import Survey
from zoo.training.stages import Stage
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32

ACTION = "fit_components"


@dataclass(frozen=True)
class Projection:
    """A 1x1 convolution on the map of a backbone."""

    dim: int = 256
    """D, its output channels."""
    components: int | None = None
    """Let it read so many principal components of the channels of a frozen backbone; the action `fit_components`, first
    in the recipe, sets them. None: it reads the channels."""

    def __post_init__(self) -> None:
        check_at_least(1, dim=self.dim)


def principal_components(found: Survey, count: int, whiten: float = 0.0) -> tuple[Tensor, Tensor]:
    """The mean (D,) of all patches, and the first principal components (D, count) as columns.

    Args:
        found: statistics of the patches.
        count: number of components.
        whiten: exponent of the standard deviation that each component is divided by, relative to the first.
    """
    variance, axes = torch.linalg.eigh(found.covariance)  # ascending
    variance, axes = variance.flip(0)[:count], axes.flip(1)[:, :count]
    scale = (variance / variance[0]).clamp_min(1e-8).sqrt() ** whiten
    return found.cells.mean(0), (axes / scale).to(found.cells)


class PrincipalComponents(nn.Module):
    """Projects maps (B, D, h, w) onto the first principal components of the training patches, (B, d, h, w).

    Buffers: `centre` (D,), the mean, and `basis` (D, d) in half precision, both 0 until they are set by `fit`.

    Args:
        channels: D, of the backbone.
        count: d.

    Raises:
        ValueError: d is not in 1 to D.
    """

    centre: Tensor
    basis: Tensor

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        if not 1 <= count <= channels:
            raise ValueError(f"components must be 1 to {channels}, the channels of this backbone; got {count}.")
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("basis", torch.zeros(channels, count, dtype=torch.float16))

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            maps = at_least_fp32(maps)
            basis = self.basis.to(maps)
            return F.conv2d(maps, basis.T[:, :, None, None], -self.centre.to(maps) @ basis)

    def fit(self, found: Survey) -> None:
        """Sets mean and components."""
        centre, basis = principal_components(found, self.basis.shape[1])
        self.centre.copy_(centre)
        self.basis.copy_(basis)

    def require_fitted(self, model: str) -> None:
        """Refuses to explain without components.

        Raises:
            RuntimeError: they are not set; the message gives the remedy.
        """
        if not self.basis.any():
            raise RuntimeError(
                f"the components of this {model} are not set: fit it with a recipe that begins with {{name: {ACTION}}}"
                f", or call {ACTION}()."
            )

    def check_recipe(self, stages: Sequence[Stage], frozen: Collection[str], model: str) -> None:
        """Refuses a recipe that does not set the components, or that trains what they are components of.

        Args:
            stages: of the recipe.
            frozen: parameter groups of the backbone.
            model: its name, for error messages.

        Raises:
            ValueError: the message says what to change.
        """
        learning = [stage.name for stage in stages if set(stage.trained) & set(frozen)]
        if learning:
            raise ValueError(
                f"the components of {model} are those of a frozen backbone, but {', '.join(learning)} trains it; take "
                f"{' and '.join(frozen)} out of 'train', or leave components out."
            )
        if stages[0].name != ACTION and not self.basis.any():
            raise ValueError(
                f"{model} with components sets them before it trains: let its recipe begin with {{name: {ACTION}}}."
            )
