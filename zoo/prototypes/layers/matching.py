"""Points that an image shares with a bank of others: mutual nearest neighbours, foreground, keypoints."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32, tied


def mutual_nearest(
    queries: Tensor,
    others: Tensor,
    query_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
    chunk: int = 2048,
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest other vector of each query vector, and whether each is the nearest of the other.

    Nearest means the smallest Euclidean distance; of vectors of unit length that is the largest cosine. Ties go to the
    lowest number. Memory is B·n·chunk numbers.

    Args:
        queries: (B, n, d).
        others: (M, d), the same for all of the batch.
        query_mask: (B, n) bool, which queries may match; all by default.
        other_mask: (M,) bool, which of the others may match; all by default.
        chunk: others compared at one time; few enough to stay in the cache.

    Returns:
        (B, n) number of the nearest of the others, (B, n) its squared distance, and (B, n) bool, whether the two are
        mutual nearest neighbours; always False for vectors that a mask excludes.
    """
    queries = at_least_fp32(queries)
    flat = queries.flatten(0, 1)  # (B n, d)
    best, number = flat.new_full(flat.shape[:1], torch.inf), flat.new_zeros(flat.shape[:1], dtype=torch.long)
    for start in range(0, len(others), chunk):
        part = at_least_fp32(others[start : start + chunk])
        size = part.square().sum(1)
        if other_mask is not None:
            size = size.masked_fill(~other_mask[start : start + chunk], torch.inf)
        nearest, column = torch.addmm(size, flat, part.T, alpha=-2).min(1)  # |e|² - 2 q·e, (B n, m)
        better = nearest < best
        best, number = torch.where(better, nearest, best), torch.where(better, column + start, number)
    best, number = best.view(queries.shape[:2]), number.view(queries.shape[:2])
    lengths = queries.square().sum(2)  # (B, n)
    seen = lengths if query_mask is None else lengths.masked_fill(~query_mask, torch.inf)
    # The way back is searched only for the others that are the nearest of some query.
    back = (seen[:, None] - 2 * at_least_fp32(others[number]) @ queries.mT).argmin(2)  # (B, n)
    mutual = (back == torch.arange(queries.shape[1], device=queries.device)) & (best + seen).isfinite()
    return number, (best + lengths).clamp_min(0), mutual


def foreground(patches: Tensor, axis: Tensor, centre: Tensor, margin: float = 0.2) -> Tensor:
    """Patches whose principal component lies above the mean of their image plus `margin` standard deviations.

    Args:
        patches: (B, n, d).
        axis: (d,) the first principal component, pointing from background to foreground.
        centre: (d,) the mean of all patches, around which the component was computed.
        margin: in standard deviations of the image's patches.

    Returns:
        (B, n) bool.
    """
    along = (at_least_fp32(patches) - centre) @ axis  # (B, n)
    return along > along.mean(1, keepdim=True) + margin * along.std(1, keepdim=True, correction=0)


def keypoints(
    points: Tensor, first: Tensor, valid: Tensor, count: int, weight: Tensor | None = None, steps: int = 10
) -> Tensor:
    """One point of each of at most `count` clusters: the nearest to the centre, or that of largest weight.

    Deterministic k-means: the first centre is the valid point where `first` is largest, each further one the valid
    point farthest from the centres before it. If there are not more valid points than clusters, each is its own
    cluster. Ties up to rounding go to the lowest number.

    Args:
        points: (B, n, f).
        first: (B, n).
        valid: (B, n) bool, which points exist.
        count: number of clusters.
        weight: (B, n); None for the points nearest to the centres.
        steps: iterations of Lloyd's algorithm.

    Returns:
        (B, n) bool, the representatives, a subset of `valid`.
    """
    points = at_least_fp32(points)
    chosen = tied(at_least_fp32(first)).masked_fill(~valid, -torch.inf).argmax(1)  # (B,)
    picked, apart = [], torch.where(valid, torch.inf, -1.0)
    for _ in range(min(count, points.shape[1])):
        centre = points.gather(1, chosen[:, None, None].expand(-1, 1, points.shape[2]))  # (B, 1, f)
        picked.append(centre)
        apart = torch.minimum(apart, (points - centre).square().sum(2))
        chosen = apart.argmax(1)
    centres = torch.cat(picked, 1)  # (B, k, f)
    for _ in range(steps):
        member = _members(points, centres, valid)
        size = member.sum(2, keepdim=True)  # (B, k, 1)
        centres = torch.where(size > 0, member @ points / size.clamp_min(1), centres)
    member = _members(points, centres, valid) > 0  # (B, k, n)
    rank = -_distances(points, centres) if weight is None else at_least_fp32(weight)[:, None]
    best = tied(rank).masked_fill(~member, -torch.inf).argmax(2)  # (B, k)
    # The argmax of an empty cluster is arbitrary and marks nothing.
    return (F.one_hot(best, valid.shape[1]) * member.any(2, keepdim=True)).any(1)


def _members(points: Tensor, centres: Tensor, valid: Tensor) -> Tensor:
    """(B, k, n) 1 where a valid point belongs to a cluster; ties go to the lowest cluster."""
    nearest = _distances(points, centres).argmin(1)
    return (F.one_hot(nearest, centres.shape[1]).mT * valid[:, None]).float()


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """(B, k, n) squared distances of points (B, n, f) to centres (B, k, f)."""
    return (centres[:, :, None] - points[:, None]).square().sum(3)
