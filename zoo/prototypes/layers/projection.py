"""Projection ("push"): replaces each prototype by the nearest patch of the training images, of its class or of all.

One streaming pass with running minima on the device. Where prototypes belong to classes, an image is compared with
those of its own class only, so that the cost does not grow with the number of classes. Distances are computed as
direct differences, because the expansion into a product loses the small distances that decide here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo.training.modes import evaluating
from zoo.training.projection_set import ProjectionSet

NOWHERE = torch.iinfo(torch.int64).max
CHUNK = 256  # shared prototypes that are compared at once


@dataclass(frozen=True)
class Nearest:
    """The nearest patch found so far for each of P prototypes.

    Attributes:
        distance: (P,) squared distance.
        index: (P,) number of the training image; NOWHERE before any was seen.
        cell: (P,) position on the feature map, counted row by row.
        vector: (P, D) the patch itself.
    """

    distance: Tensor
    index: Tensor
    cell: Tensor
    vector: Tensor

    @classmethod
    def start(cls, prototypes: Tensor) -> "Nearest":
        """No patch yet for prototypes (P, D)."""
        count = len(prototypes)
        nowhere = prototypes.new_full((count,), NOWHERE, dtype=torch.int64)
        infinite = prototypes.new_full((count,), torch.inf, dtype=torch.float32)
        return cls(infinite, nowhere, nowhere, prototypes.float().clone())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distance, index, cell and vector."""
        return self.distance, self.index, self.cell, self.vector

    def nearer(self, other: "Nearest") -> "Nearest":
        """The nearer of the two for each prototype; ties go to the lower image number."""
        better = (other.distance < self.distance) | ((other.distance == self.distance) & (other.index < self.index))
        return Nearest(
            torch.where(better, other.distance, self.distance),
            torch.where(better, other.index, self.index),
            torch.where(better, other.cell, self.cell),
            torch.where(better[:, None], other.vector, self.vector),
        )


def nearest_patches(
    prototypes: Tensor,
    projection_set: ProjectionSet,
    embed: Callable[[Tensor], Tensor],
    users: Tensor | None = None,
    least: int = 1,
) -> Nearest:
    """The nearest patch of every prototype among training images, over all ranks.

    Ties go to the lowest image number, then to the lowest cell. Memory is that of one batch.

    Args:
        prototypes: (C, Q, D), Q of each class, whose images alone are searched; or (P, D), shared by classes.
        projection_set: the training set, this rank's share.
        embed: images (B, ...) to patches (B, D, h, w).
        users: (C, P) bool, of shared prototypes the classes whose images are searched; all images by default, and for
            a prototype without users.
        least: training images that each class must have, where prototypes are not shared.

    Returns:
        For the C·Q prototypes, class by class, or the P.

    Raises:
        ValueError: some classes, or all users of a prototype, have no training image, or classes fewer than `least`.
    """
    shared = prototypes.ndim == 2
    if users is not None:
        users = users | ~users.any(0)
    best = Nearest.start(prototypes.flatten(0, -2))
    images = torch.zeros(prototypes.shape[0], dtype=torch.int64, device=prototypes.device)  # of each class
    for batch in projection_set:
        z, target, index = embed(batch["input"]), batch["target"], batch["index"]
        if shared:
            found = _nearest_of_shared(prototypes, z, None if users is None else users[target], index)
        else:
            images += torch.bincount(target, minlength=len(images))
            found = _nearest_in_batch(prototypes, z, target, index)
        best = best.nearer(found)
    if dist.is_available() and dist.is_initialized() and projection_set.world > 1:
        best = _nearest_of_ranks(best, projection_set.world)
        dist.all_reduce(images)
    _require_found(best, prototypes, None if shared else images, least)
    return best


@torch.no_grad()
def patch_features(backbone: nn.Module, projection_set: ProjectionSet, index: Tensor, cell: Tensor) -> Tensor:
    """What a backbone computes of patches (P, C), given by numbers of training images (P,) and cells (P,)."""
    found = []
    with evaluating(backbone):
        for images, cells in zip(index.split(32), cell.split(32), strict=True):  # bounds memory
            maps = backbone(torch.stack([projection_set.input(i) for i in images.tolist()])).flatten(2)
            found.append(maps[torch.arange(len(maps), device=maps.device), :, cells])
    return torch.cat(found)


def _require_found(best: Nearest, prototypes: Tensor, images: Tensor | None, least: int) -> None:
    """Checks that every prototype found a patch, and every class (of `images` each) has enough images."""
    missing = best.index == NOWHERE
    if images is not None:
        missing = missing.unflatten(0, prototypes.shape[:2]).any(1)
    if missing.any():
        what = "shared prototypes have users that have" if images is None else "classes have"
        which = missing.nonzero().flatten().tolist()
        raise ValueError(f"{len(which)} {what} no training image to take prototypes from: {which[:10]}.")
    if images is not None:
        require_enough_images(images, least)


def require_enough_images(images: Tensor, prototypes: int) -> None:
    """Checks that each class has an image of its own for each of its prototypes.

    Args:
        images: (C,) number of training images of each class.
        prototypes: of each class.

    Raises:
        ValueError: some classes have fewer.
    """
    if images.min() < prototypes:
        which = (images < prototypes).nonzero().flatten().tolist()
        lower = f"lower prototypes_per_class to {int(images.min())}, or " if images.min() else ""
        raise ValueError(
            f"{len(which)} classes have fewer training images than the {prototypes} prototypes of each class "
            f"(the first is {which[0]}, with {int(images[which[0]])}), so that several would come from one image; "
            f"{lower}add images."
        )


def _nearest_of_shared(prototypes: Tensor, z: Tensor, allowed: Tensor | None, index: Tensor) -> Nearest:
    """Of one batch, whose images are ordered by number; `allowed` (B, P) is True where an image may be taken."""
    patches = z.float().flatten(2).mT.flatten(0, 1)  # (B HW, D)
    cells = len(patches) // len(z)
    parts = []
    for start in range(0, len(prototypes), CHUNK):  # bounds the (B HW, P) temporary
        chunk = slice(start, start + CHUNK)
        vectors = prototypes[chunk].float()
        distances = torch.cdist(patches, vectors, compute_mode="donot_use_mm_for_euclid_dist").square()
        if allowed is not None:
            distances = distances.masked_fill(~allowed[:, chunk].repeat_interleave(cells, 0), torch.inf)
        distance, place = distances.min(0)  # ties: the first image, and its first cell
        number = torch.where(distance.isinf(), NOWHERE, index[place // cells])
        parts.append((distance, number, place % cells, patches[place]))
    return Nearest(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _nearest_in_batch(prototypes: Tensor, z: Tensor, target: Tensor, index: Tensor) -> Nearest:
    """Of one batch, among the images of each prototype's own class."""
    classes, per_class, _ = prototypes.shape
    patches = z.float().flatten(2).mT  # (B, HW, D)
    own = prototypes.float()[target]  # (B, Q, D)
    distances = torch.cdist(own, patches, compute_mode="donot_use_mm_for_euclid_dist").square()  # (B, Q, HW)
    distance, cell = distances.min(2)  # (B, Q); ties: the first cell
    rows = target[:, None].expand_as(distance)
    least = distance.new_full((classes, per_class), torch.inf).scatter_reduce(0, rows, distance, "amin")
    wins = distance == least[target]  # (B, Q): this image is nearest to that prototype, perhaps with others
    order = torch.arange(len(z), device=z.device)[:, None].expand_as(distance)
    none = order.new_full((classes, per_class), len(z))
    first = none.scatter_reduce(0, rows, torch.where(wins, order, len(z)), "amin")
    seen, row = first < len(z), first.clamp_max(len(z) - 1)  # (C, Q)
    slot = torch.arange(per_class, device=z.device).expand_as(row)
    cells = cell[row, slot]
    return Nearest(
        least.flatten(),
        torch.where(seen, index[row], NOWHERE).flatten(),
        cells.flatten(),
        patches[row, cells].flatten(0, 1),
    )


def _nearest_of_ranks(best: Nearest, world: int) -> Nearest:
    gathered = []
    for tensor in best.tensors():
        mine = tensor.contiguous()
        parts = [torch.empty_like(mine) for _ in range(world)]
        dist.all_gather(parts, mine)
        gathered.append(parts)
    merged, *others = (Nearest(*parts) for parts in zip(*gathered, strict=True))
    for other in others:
        merged = merged.nearer(other)
    return merged
