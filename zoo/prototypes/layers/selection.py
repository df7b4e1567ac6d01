"""Selection of training images that represent a class: one pass over the training set, then medoids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.training.projection_set import ProjectionSet

EMPTY = -1  # number of the training image in a place that holds none


@dataclass
class Survey:
    """Statistics of the maps of N training images, from one pass.

    Attributes:
        pooled: (N, D) mean over the cells of each image.
        target: (N,) classes.
        cells: (n, D) mean over the images for each cell.
        covariance: (D, D) of all patches.
    """

    pooled: Tensor
    target: Tensor
    cells: Tensor
    covariance: Tensor


def survey(projection_set: ProjectionSet, embed: Callable[[Tensor], Tensor]) -> Survey:
    """One streaming pass over the training set, on all ranks; memory is one vector for each image.

    Args:
        projection_set: the training set.
        embed: images to maps (B, D, h, w).
    """
    pooled, target, cells, outer = [], [], torch.zeros(()), torch.zeros(())
    for batch in projection_set:
        maps = embed(batch["input"]).float().flatten(2)  # (B, D, n)
        pooled.append(maps.mean(2))
        target.append(batch["target"])
        patches = maps.mT.flatten(0, 1)  # (B n, D)
        cells, outer = cells + maps.sum(0).T.double(), outer + (patches.T @ patches).double()
    count = len(projection_set)
    cells = projection_set.total(cells) / count
    mean = cells.mean(0)
    covariance = projection_set.total(outer) / (count * len(cells)) - mean[:, None] * mean
    vectors, labels = projection_set.gather(torch.cat(pooled)), projection_set.gather(torch.cat(target))
    return Survey(vectors, labels, cells.float(), covariance)


def medoids(vectors: Tensor, count: int, steps: int = 20) -> Tensor:
    """Numbers (count,) of the medoids of vectors (N, D), in ascending order: deterministic k-medoids.

    Each initial medoid is the vector that lowers the sum of distances most; then medoids and their members alternate
    until neither changes. Ties go to the lowest number.

    Args:
        vectors: (N, D).
        count: number of medoids, at most N.
        steps: at most so many alternations.
    """
    distance = torch.cdist(vectors.double(), vectors.double())
    found = distance.sum(0).argmin()[None]
    for _ in range(count - 1):
        nearest = distance[:, found].amin(1, keepdim=True)
        gain = (nearest - distance).clamp_min(0).sum(0).index_fill(0, found, -1.0)
        found = torch.cat([found, gain.argmax()[None]])
    for _ in range(steps):
        member = F.one_hot(distance[:, found].argmin(1), count).to(distance)  # (N, k)
        # Only a member can become the medoid of its cluster, so medoids stay distinct.
        cost = (distance @ member).masked_fill(member == 0, torch.inf)
        fresh = torch.where(member.any(0), cost.argmin(0), found)
        if torch.equal(fresh, found):
            break
        found = fresh
    return found.sort().values


def choose(pooled: Tensor, target: Tensor, classes: Sequence[str], count: int, how: str) -> Tensor:
    """Numbers (C, count) of the training images that represent each class, EMPTY where a class has fewer images.

    Args:
        pooled: (N, D) one vector for each training image.
        target: (N,) classes.
        classes: their names.
        count: number of images of each class.
        how: "medoids" of the class, or the images "nearest" to its mean, by the cosine.

    Raises:
        ValueError: a class has no training image.
    """
    require_every_class(torch.bincount(target, minlength=len(classes)) > 0, classes)
    chosen = torch.full((len(classes), count), EMPTY, device=target.device)
    unit = F.normalize(pooled, dim=1)
    for c in range(len(classes)):
        rows = (target == c).nonzero()[:, 0]
        if len(rows) > count:
            own = unit[rows]
            near = (own @ own.mean(0)).topk(count).indices.sort().values if how == "nearest" else medoids(own, count)
            rows = rows[near]
        chosen[c, : len(rows)] = rows
    return chosen


def require_every_class(present: Tensor, classes: Sequence[str]) -> None:
    """Refuses classes without training images.

    Args:
        present: (C,) bool, which classes have some.
        classes: their names.

    Raises:
        ValueError: a class has none; the message names some of them.
    """
    lacking = (~present).nonzero()[:, 0].tolist()
    if lacking:
        named = ", ".join(f"'{classes[c]}' ({c})" for c in lacking[:5])
        raise ValueError(
            f"{len(lacking)} of {len(classes)} classes have no training image to compare with: {named}"
            f"{', ...' if len(lacking) > 5 else ''}. Add images of them, or remove the classes."
        )
