"""Training series for an action: a bounded number, in equal parts of every class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.training.projection_set import ProjectionSet


@dataclass(frozen=True)
class SeriesSample:
    """N training series.

    Attributes:
        x: (N, T, V).
        target: (N,) classes.
        index: (N,) numbers in the training set, ascending.
        names: of the series.
    """

    x: Tensor
    target: Tensor
    index: Tensor
    names: list[str]


def series_sample(projection_set: ProjectionSet, classes: int, count: int) -> SeriesSample:
    """The first training series of each class, at most `count` of all; the same on every rank.

    Args:
        projection_set: the training set, this rank's share.
        classes: C.
        count: largest number of series, but one of each class at least.

    Raises:
        ValueError: a class has no training series.
    """
    target = projection_set.gather(torch.cat([batch["target"] for batch in projection_set]))
    sizes = torch.bincount(target, minlength=classes)
    if not bool(sizes.all()):
        raise ValueError(
            f"class {int(sizes.argmin())} has no training series to take motifs from; add some, or remove the class."
        )
    rows = [(target == c).nonzero()[: max(count // classes, 1), 0] for c in range(classes)]
    index = torch.cat(rows).sort().values
    numbers = index.tolist()
    x = torch.stack([projection_set.input(i) for i in numbers])
    return SeriesSample(x, target[index], index, [projection_set.name(i) for i in numbers])
