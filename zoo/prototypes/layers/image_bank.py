"""A bank of training images: which are kept, and their patches in half precision, in buffers of fixed size."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Unit
from zoo.core.unit_cache import UnitCache
from zoo.domain import ImageDomain
from zoo.prototypes.layers.provenance import Provenance
from zoo.prototypes.layers.reduction import Reduction
from zoo.prototypes.layers.selection import EMPTY, Survey
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32

RECIPE = "[{name: gather}, {name: measure, epochs: 1, train: []}]"


class ImageBank(nn.Module):
    """Patches of E training images, Q places for each class in the order of the classes.

    Each image is a unit whose activation adds to the score of its own class.

    Buffers: `patches` (E, n, d) in half precision · `centre` (D,) and `basis` (D, d), which reduce the channels of the
    backbone; `basis` is empty if they stay as they are · `provenance`, whose index is -1 for an empty place.

    Args:
        domain: of the images.
        per_class: Q.
        channels: D, of the backbone.
        grid: height and width of its map.
        reduction: of the channels.
        thumbnail: side in pixels of the stored pictures.

    Raises:
        ValueError: a number out of range.
    """

    patches: Tensor
    centre: Tensor
    basis: Tensor

    def __init__(
        self,
        domain: ImageDomain,
        per_class: int,
        channels: int,
        grid: tuple[int, int],
        reduction: Reduction,
        thumbnail: int,
    ) -> None:
        super().__init__()
        columns = reduction.columns(channels, len(domain.classes))
        check_at_least(1, thumbnail=thumbnail)
        count, cells = len(domain.classes) * per_class, grid[0] * grid[1]
        self.domain, self.per_class, self.reduction = domain, per_class, reduction
        self.register_buffer("patches", torch.zeros(count, cells, columns or channels, dtype=torch.float16))
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("basis", torch.zeros(channels, columns))
        self.provenance = Provenance(count, domain.channels, thumbnail)
        self._units = UnitCache()

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, D, h, w) as patches (B, n, d) in fp32."""
        return self.reduce(at_least_fp32(maps).flatten(2).mT)

    def reduce(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D) of the backbone's channels with d."""
        if not self.basis.shape[1]:
            return vectors
        with torch.autocast(vectors.device.type, enabled=False):
            return (vectors - self.centre) @ self.basis

    @property
    def filled(self) -> Tensor:
        """(E,) bool, the places that hold an image."""
        return self.provenance.index >= 0

    # Scores

    @property
    def owner(self) -> Tensor:
        """(E,) the class of each place."""
        return torch.arange(len(self.patches), device=self.patches.device) // self.per_class

    def class_sums(self, activation: Tensor) -> Tensor:
        """Scores (B, C): activations (B, E) summed over the images of each class."""
        return activation.unflatten(1, (-1, self.per_class)).sum(2)

    def contributions(self, activation: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, E) to the score of `target` (B,), and the bias (B,), which is 0."""
        return activation * (self.owner == target[:, None]), torch.zeros_like(activation[:, 0])

    def mean_contributions(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of `contributions` over all classes."""
        return activation / len(self.domain.classes), torch.zeros_like(activation[:, 0])

    def slopes(self, activation: Tensor) -> Tensor:
        """(1, E, C): 1 for the class of each image."""
        return F.one_hot(self.owner, len(self.domain.classes)).to(activation)[None]

    # Vocabulary

    def names(self) -> list[str]:
        """Name of the training image in each place; empty for an empty place."""
        return [source.get("image", "") for source in self.provenance.sources()]

    def units(self, kind: str) -> tuple[Unit, ...]:
        """One unit of a kind for each place, with the picture of its training image."""

        def build() -> Iterable[Unit]:
            pictures = self.provenance.picture.cpu()
            for j, source in enumerate(self.provenance.sources()):
                target, place = divmod(j, self.per_class)
                known = {key: source[key] for key in ("image", "index") if source}
                name = f"{self.domain.classes[target]} #{place + 1}"
                yield Unit(name, kind, target, known, pictures[j] if source else None)

        return self._units.get((self.provenance.name, self.provenance.index), build)

    # Recipe

    def require_filled(self, model: str) -> None:
        """Refuses to explain without training images.

        Raises:
            RuntimeError: there are none; the message gives the remedy.
        """
        if not bool(self.filled.any()):
            raise RuntimeError(
                f"this {model} has no training images to compare with: fit it with a recipe that has the action "
                f"gather, such as {RECIPE}, or call gather()."
            )

    def check_recipe(self, stages: Sequence[Stage], model: str) -> None:
        """Refuses a recipe that trains a parameter group, or that gathers no training images.

        Raises:
            ValueError: the recipe to use instead.
        """
        trained = sorted({group for stage in stages for group in stage.trained})
        if trained or not any(stage.name == "gather" and stage.is_action for stage in stages):
            wrong = f"trains {', '.join(trained)}" if trained else "has no action gather"
            raise ValueError(
                f"{model} compares with training images on a frozen backbone, but its recipe {wrong}; write {RECIPE}."
            )

    # Filling

    def fit_reduction(self, found: Survey) -> None:
        """Sets what reduces the channels, if anything does."""
        if columns := self.basis.shape[1]:
            centre, basis = self.reduction.fit(found, columns)
            self.centre.copy_(centre)
            self.basis.copy_(basis)

    def fill(
        self,
        rows: Tensor,
        projection_set: ProjectionSet,
        embed: Callable[[Tensor], Tensor],
        vectors: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Stores vectors, names and pictures of training images, and yields their places (N,) and maps (N, D, h, w).

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
        places = (index >= 0).nonzero()[:, 0]
        for part in places.split(32):  # bounds memory
            numbers = index[part].tolist()
            x = torch.stack([projection_set.input(i) for i in numbers])
            maps = embed(x).float()
            self.patches[part] = vectors(maps).to(self.patches.dtype)
            if not bool(self.patches[part].isfinite().all()):
                raise ValueError(
                    f"features of '{projection_set.name(numbers[0])}' or of images after it exceed 65504, the range of "
                    "half precision; use vectors of unit length, or another backbone."
                )
            self.provenance.record_images(part, numbers, x, projection_set, self.domain)
            yield part, maps
        size = self.patches.numel() * self.patches.element_size() / 2**20
        rank_zero_info(
            f"gathered {len(places):,} of {len(projection_set):,} training images: {size:.1f} MiB of patches."
        )
