"""A bank of training images: which are kept, and their patches in half precision, in buffers of fixed size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.domain import Domain, ImageDomain
from zoo.prototypes.layers.provenance import Provenance
from zoo.prototypes.layers.selection import EMPTY, Survey
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage


def check_images(domain: Mapping[str, Any] | Domain, model: str) -> ImageDomain:
    """The domain, if it is one of images in two or more classes.

    Raises:
        ValueError: it is not.
    """
    domain = Domain.from_dict(domain)
    if not isinstance(domain, ImageDomain) or len(domain.classes) < 2 or domain.task != "classification":
        raise ValueError(
            f"{model} classifies images into two or more classes; got {len(domain.classes)} of "
            f"modality '{domain.modality}' for a {domain.task}."
        )
    return domain


class Bank(nn.Module):
    """Patches of E training images, Q slots for each class in the order of the classes.

    Buffers: `patches` (E, n, d) in half precision · `centre` (D,) and `basis` (D, d), which lead from the backbone's
    channels to the d of a patch; without a reduction `basis` is empty · `provenance`, where a slot without an image
    has index -1.

    Args:
        domain: of the images.
        per_class: Q.
        channels: D, of the backbone.
        grid: height and width of its map.
        dim: d, the first principal components of the training set's patches; None keeps the D channels as they are.
        whiten: exponent in [0, 1] of the standard deviation that each component is divided by; 1 makes all alike.
        thumbnail: side in pixels of the stored pictures.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        domain: ImageDomain,
        per_class: int,
        channels: int,
        grid: tuple[int, int],
        dim: int | None,
        whiten: float,
        thumbnail: int,
    ) -> None:
        super().__init__()
        if dim is not None and not 1 <= dim <= channels:
            raise ValueError(f"dim must be 1 to {channels}, the channels of this backbone, or None; got {dim}.")
        if not 0 <= whiten <= 1 or (whiten and dim is None):
            raise ValueError(f"whiten must be in [0, 1], and above 0 it needs a dim; got {whiten} and dim {dim}.")
        if thumbnail < 1:
            raise ValueError(f"thumbnail must be at least 1; got {thumbnail}.")
        count, cells = len(domain.classes) * per_class, grid[0] * grid[1]
        self.domain, self.per_class, self.dim, self.whiten = domain, per_class, dim, whiten
        self.register_buffer("patches", torch.zeros(count, cells, dim or channels, dtype=torch.float16))
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("basis", torch.zeros(channels, dim or 0))
        self.provenance = Provenance(count, domain.channels, thumbnail)
        self._units: tuple[int, tuple[Unit, ...]] | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, D, h, w) as patches (B, n, d) in fp32."""
        patches = maps.float().flatten(2).mT
        if self.dim is None:
            return patches
        with torch.autocast(maps.device.type, enabled=False):
            return (patches - self.centre) @ self.basis

    @property
    def filled(self) -> Tensor:
        """(E,) bool, the slots that hold an image."""
        return self.provenance.index >= 0

    @property
    def owner(self) -> Tensor:
        """(E,) the class of each slot."""
        return torch.arange(len(self.patches), device=self.patches.device) // self.per_class

    def names(self) -> list[str]:
        """What the training image of each slot is called; empty for a slot without one."""
        return [source.get("image", "") for source in self.provenance.sources()]

    def units(self, kind: str) -> tuple[Unit, ...]:
        """One unit for each slot, with the picture of its training image."""
        state = self.provenance.name._version  # rebuilt only after another gather, or a load
        if self._units is None or self._units[0] != state:
            pictures, units = self.provenance.picture.cpu(), []
            for j, source in enumerate(self.provenance.sources()):
                target, place = divmod(j, self.per_class)
                known = {key: source[key] for key in ("image", "index") if source}
                name = f"{self.domain.classes[target]} #{place + 1}"
                units.append(Unit(name, kind, target, known, pictures[j] if source else None))
            self._units = state, tuple(units)
        return self._units[1]

    def require_filled(self, model: str) -> None:
        """Refuses as long as no training images were gathered.

        Raises:
            RuntimeError: the remedy.
        """
        if not bool(self.filled.any()):
            raise RuntimeError(
                f"this {model} has no training images to compare with (yet): fit it with a recipe that has the action "
                "gather, such as [{name: gather}, {name: measure, epochs: 1, train: []}], or call gather()."
            )

    def check_recipe(self, stages: Sequence[Stage], model: str) -> None:
        """Refuses a recipe that trains, or gathers nothing.

        Raises:
            ValueError: what to write instead.
        """
        trained = sorted({group for stage in stages for group in stage.trained})
        if trained or not any(stage.name == "gather" and stage.is_action for stage in stages):
            wrong = f"trains {', '.join(trained)}" if trained else "has no action gather"
            raise ValueError(
                f"{model} compares with training images on a frozen backbone, but its recipe {wrong}; write "
                "[{name: gather}, {name: measure, epochs: 1, train: []}]."
            )

    def reduce(self, found: Survey) -> None:
        """Sets the principal components."""
        if self.dim is not None:
            variance, axes = torch.linalg.eigh(found.covariance)  # ascending
            variance, axes = variance.flip(0)[: self.dim], axes.flip(1)[:, : self.dim]
            scale = (variance / variance[0]).clamp_min(1e-8).sqrt() ** self.whiten
            self.basis.copy_(axes / scale)
            self.centre.copy_(found.cells.mean(0))

    def fill(
        self,
        rows: Tensor,
        projection_set: ProjectionSet,
        embed: Callable[[Tensor], Tensor],
        vectors: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Stores vectors, names and pictures of training images, and hands out slots (N,) and maps (N, D, h, w).

        Args:
            rows: (C, Q) the numbers of the images, EMPTY for none.
            projection_set: the training set.
            embed: images to maps.
            vectors: maps to what is stored (N, n, d).

        Raises:
            ValueError: features beyond the range of half precision.
        """
        index = rows.flatten()
        self.patches.zero_()
        self.provenance.index.fill_(EMPTY)
        slots = (index >= 0).nonzero()[:, 0]
        for part in slots.split(32):  # memory is that of one chunk of images
            numbers = index[part].tolist()
            x = torch.stack([projection_set.input(i) for i in numbers])
            maps = embed(x).float()
            self.patches[part] = vectors(maps).to(self.patches.dtype)
            if not bool(self.patches[part].isfinite().all()):
                raise ValueError(
                    f"features of '{projection_set.name(numbers[0])}' and after exceed 65504, the range of half precision; "
                    "use vectors of unit length, or another backbone."
                )
            self.provenance.record_whole(part, numbers, x, projection_set, self.domain)
            yield part, maps
        size = self.patches.numel() * self.patches.element_size() / 2**20
        rank_zero_info(
            f"gathered {len(slots):,} of {len(projection_set):,} training images: {size:.1f} MiB of patches."
        )
