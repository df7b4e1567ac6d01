"""How the channels of a frozen backbone are reduced before patches are compared, as one value with checked fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from zoo.prototypes.layers.components import principal_components
from zoo.prototypes.layers.selection import Survey
from zoo.utils.checks import check_between, check_choice
from zoo.utils.options import fold_options

Method = Literal["components", "discriminants"]


@dataclass(frozen=True)
class Reduction:
    """How the channels of patches are reduced before they are compared."""

    method: Method = "components"
    """"components": principal components of the patches of the training images; "discriminants": Fisher's linear
    discriminants of the means over the cells of the training images, which tell their classes apart."""
    dim: int | None = None
    """d, their number. None: all channels as they are, without components; or one discriminant less than classes."""
    whiten: float = 0.0
    """Of components: exponent in [0, 1] of the standard deviation that each is divided by; at 1 all have the same
    variance. Discriminants always have the variance 1 within a class."""
    shrinkage: float = 0.5
    """Of discriminants, see `fisher_discriminants`."""

    def __post_init__(self) -> None:
        check_choice(get_args(Method), method=self.method)
        check_between(0, 1, whiten=self.whiten)
        check_between(0, 1, shrinkage=self.shrinkage)
        if self.whiten and (self.dim is None or self.method == "discriminants"):
            raise ValueError(f"whiten is of components and needs their number: give dim; got {self}.")

    def columns(self, channels: int, classes: int) -> int:
        """d, or 0 if channels stay as they are.

        Raises:
            ValueError: `dim` is out of range for a backbone with so many channels and a task with so many classes.
        """
        if self.method == "components":
            most, of = channels, f"{channels}, the channels of this backbone"
        else:
            most = min(channels, classes - 1)
            of = f"{most}, the channels of this backbone or one less than the classes"
        if self.dim is not None and not 1 <= self.dim <= most:
            raise ValueError(f"dim must be 1 to {of}, or None; got {self.dim}.")
        return self.dim or (0 if self.method == "components" else most)

    def fit(self, found: Survey, count: int) -> tuple[Tensor, Tensor]:
        """The mean (D,) of all patches, and the directions (D, count) as columns."""
        if self.method == "components":
            return principal_components(found, count, self.whiten)
        return found.cells.mean(0), fisher_discriminants(found.pooled, found.target, count, self.shrinkage)


def upgrade_reduction(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Converts arguments of an older checkpoint, which held the fields one by one; current ones stay unchanged."""
    return fold_options(arguments, {name: ("reduction", name) for name in ("dim", "whiten")})


def fisher_discriminants(vectors: Tensor, target: Tensor, count: int, shrinkage: float) -> Tensor:
    """Directions (D, count), as columns, in which classes differ most compared with the spread within classes.

    The columns b maximise bᵀ S_B b for bᵀ S b = 1, one after the other and S-orthogonal (Fisher: "The use of multiple
    measurements in taxonomic problems", 1936; Rao 1948 for several classes), where S_B is the covariance of the class
    means, weighted by the numbers of images, and

        S = (1 - s) S_W + s (tr S_W / D) I        (Friedman: "Regularized discriminant analysis", JASA 1989, eq. 18)

    shrinks the covariance S_W within classes, which fewer images than channels do not determine.

    Args:
        vectors: (N, D).
        target: (N,) classes.
        count: at most D and one less than the classes.
        shrinkage: s in [0, 1]; 1 compares with the same spread in all directions.

    Raises:
        ValueError: S has no inverse.
    """
    x = vectors.double()
    classes, row, size = target.unique(return_inverse=True, return_counts=True)
    means = x.new_zeros(len(classes), x.shape[1]).index_add(0, row, x) / size[:, None]
    inner = x - means[row]
    within = inner.T @ inner / len(x)
    spread = torch.eye(len(within)).to(within) * within.diagonal().mean()
    factor, failed = torch.linalg.cholesky_ex((1 - shrinkage) * within + shrinkage * spread)
    if int(failed) or not bool(factor.diagonal().min() > 0):
        raise ValueError(
            f"discriminants need a spread within classes in all {len(within)} channels, which {len(x)} images of "
            f"{len(classes)} classes do not show; give shrinkage above 0 (got {shrinkage}), or more images."
        )
    between = (means - x.mean(0)) * (size[:, None] / len(x)).sqrt()
    whitened = torch.linalg.solve_triangular(factor, between.T, upper=False)  # (D, C)
    axes = torch.linalg.svd(whitened, full_matrices=False).U[:, :count]
    return torch.linalg.solve_triangular(factor.T, axes, upper=True).to(vectors)
