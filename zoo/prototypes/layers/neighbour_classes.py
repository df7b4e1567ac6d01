"""The classes of the training patches nearest to each prototype, by which ProtoPNet prunes."""

from collections.abc import Callable

from torch import Tensor

from zoo.core.running_top import running_top
from zoo.training.projection_set import ProjectionSet


def neighbours_of_own_class(
    projection_set: ProjectionSet, distances: Callable[[Tensor], Tensor], owner: Tensor, classes: int, count: int
) -> Tensor:
    """(P,) how many of the `count` images with the nearest patches are of each prototype's own class.

    All training images are searched, whatever their class; each counts once. Ties go to the lowest image number.

    Args:
        projection_set: the training set, this rank's share.
        distances: from images (B, C, H, W) to distances of their patches to the prototypes, (B, P, h, w).
        owner: (P,) class of each prototype.
        classes: their number.
        count: k.

    Raises:
        ValueError: the training set is empty.
    """
    # The class travels in the number of the image, whose order it does not change.
    batches = ((-distances(b["input"]), b["index"] * classes + b["target"]) for b in projection_set)
    found = running_top(batches, count, projection_set.world)
    if found is None:
        raise ValueError("the training set is empty, so no prototype has neighbours; check the data.")
    seen = found.value.isfinite()  # fewer images than k
    return ((found.index % classes == owner[:, None]) & seen).sum(1)
