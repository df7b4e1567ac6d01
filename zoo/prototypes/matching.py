"""Correspondence between patches of images: mutual nearest neighbours, optimal transport, keypoints. Pure functions."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Matches(NamedTuple):
    """How B images match N others each, and by which pairs of patches.

    Attributes:
        value: (B, N), higher is better.
        query: (B, N, p) cell of each pair in the image, the best pair first; -1 where there are fewer pairs.
        other: (B, N, p) cell in the other image; likewise.
        similarity: (B, N, p) cosine of each pair; 0 where there is none.
    """

    value: Tensor
    query: Tensor
    other: Tensor
    similarity: Tensor


def mutual_nearest(
    queries: Tensor,
    others: Tensor,
    query_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
    chunk: int = 16384,
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest other vector of each query vector, and whether each is the nearest of the other.

    Nearest is the smallest Euclidean distance, which of vectors of unit length is the largest cosine. Ties go to the
    lowest number. Memory is B·n·chunk numbers.

    Args:
        queries: (B, n, d).
        others: (M, d), the same for the whole batch, or (B, M, d).
        query_mask: (B, n), which queries may match.
        other_mask: (M,) or (B, M), which of the others may match.
        chunk: others compared at one time.

    Returns:
        (B, n) number of the nearest of the others, (B, n) its squared distance, and (B, n) whether the two are mutual
        nearest neighbours; False everywhere on what the masks leave out.
    """
    queries, rows = queries.float(), torch.arange(queries.shape[1], device=queries.device)
    lengths = queries.square().sum(2, keepdim=True)  # (B, n, 1)
    best = queries.new_full(queries.shape[:2], torch.inf)
    number, back = torch.zeros_like(best, dtype=torch.long), torch.full_like(best, -1, dtype=torch.long)
    for start in range(0, others.shape[-2], chunk):
        part = others[..., start : start + chunk, :].float()
        distance = lengths - 2 * queries @ part.mT + part.square().sum(-1)[..., None, :]  # (B, n, m)
        if other_mask is not None:
            distance = distance.masked_fill(~other_mask[..., None, start : start + chunk], torch.inf)
        if query_mask is not None:
            distance = distance.masked_fill(~query_mask[..., None], torch.inf)
        nearest, column = distance.min(2)  # (B, n)
        partner = distance.argmin(1).gather(1, column)  # (B, n), whom the nearest of this part is nearest to
        better = nearest < best
        best = torch.where(better, nearest, best)
        number = torch.where(better, column + start, number)
        back = torch.where(better, partner, back)
    return number, best.clamp_min(0), (back == rows) & best.isfinite()


def foreground(patches: Tensor, axis: Tensor, centre: Tensor, margin: float = 0.2) -> Tensor:
    """(B, n) the patches whose principal component lies above their image's mean plus `margin` standard deviations.

    Args:
        patches: (B, n, d).
        axis: (d,) the first principal component, pointing from background to foreground.
        centre: (d,) the mean that it was taken around.
        margin: in standard deviations of the image's patches.
    """
    along = (patches.float() - centre) @ axis  # (B, n)
    return along > along.mean(1, keepdim=True) + margin * along.std(1, keepdim=True, correction=0)


def keypoints(points: Tensor, weight: Tensor, valid: Tensor, count: int, steps: int = 10) -> Tensor:
    """One representative of each of at most `count` clusters of points, the one of largest weight.

    k-means without chance: the first centre is the valid point of largest weight, each further one the valid point
    that lies farthest from those before it. With no more valid points than clusters, every one is its own.

    Args:
        points: (B, n, f).
        weight: (B, n), what decides for the representative; ties go to the lowest number.
        valid: (B, n), which points there are.
        count: of clusters.
        steps: of Lloyd's algorithm.

    Returns:
        (B, n) bool, the representatives, a subset of `valid`.
    """
    points = points.float()
    weight = weight.float().masked_fill(~valid, -torch.inf)
    chosen = weight.argmax(1)  # (B,)
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
    first = weight[:, None].masked_fill(~member, -torch.inf).argmax(2)  # (B, k)
    # An empty cluster marks nothing, whichever point its argmax names.
    return (F.one_hot(first, valid.shape[1]) * member.any(2, keepdim=True)).any(1)


def _members(points: Tensor, centres: Tensor, valid: Tensor) -> Tensor:
    """(B, k, n) 1 where a valid point belongs to a cluster; ties go to the lowest cluster."""
    distance = (centres[:, :, None] - points[:, None]).square().sum(3)  # (B, k, n)
    return (F.one_hot(distance.argmin(1), centres.shape[1]).mT * valid[:, None]).float()


def sinkhorn(cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float = 0.05, steps: int = 50) -> Tensor:
    """Optimal transport plans with entropy, by Sinkhorn's algorithm.

        min over T of Σ T·cost - ε H(T), T 1 = rows, Tᵀ 1 = columns       (Cuturi, NeurIPS 2013)

    On logarithms, which cannot underflow, where ε < 1/30; else by the same steps on the scalings themselves, about ten
    times as fast, which costs in [0, 2] such as 1 - cosine do not underflow then: exp(-2 · 30) is 9e-27.

    Args:
        cost: (..., n, m) in [0, 2].
        rows: (..., n) > 0, sums to 1.
        columns: (..., m) > 0, sums to 1.
        epsilon: ε; the smaller, the nearer to the earth mover's distance, and the more steps are needed.
        steps: of the algorithm, rows and then columns; the last one meets `columns` exactly.

    Returns:
        (..., n, m).
    """
    kernel, a, b = -cost.float() / epsilon, rows.float(), columns.float()
    kernel = kernel - kernel.amax(-1, keepdim=True)  # changes the scaling of a row, not the plan
    if epsilon < 1 / 30:
        return _sinkhorn_of_logarithms(kernel, a.log(), b.log(), steps)
    kernel, v = kernel.exp(), torch.ones_like(b)[..., None]
    turned, a, b = kernel.mT.contiguous(), a[..., None], b[..., None]
    for _ in range(steps):
        u = a / (kernel @ v)
        v = b / (turned @ u)
    return kernel * u * v.mT


def _sinkhorn_of_logarithms(kernel: Tensor, a: Tensor, b: Tensor, steps: int) -> Tensor:
    v = torch.zeros_like(b)
    for _ in range(steps):
        u = a - torch.logsumexp(kernel + v[..., None, :], -1)
        v = b - torch.logsumexp(kernel + u[..., None], -2)
    return (kernel + u[..., None] + v[..., None, :]).exp()


def cross_correlation(patches: Tensor, pooled: Tensor, floor: float = 1e-3) -> Tensor:
    """(..., n) how much each patch of one image agrees with the whole of another one, as shares that sum to 1.

    A patch that does not agree at all keeps a share of `floor` times the mean, so that transport stays defined.

    Args:
        patches: (..., n, d).
        pooled: (..., d), the mean of the other image's patches.
        floor: > 0.
    """
    agreement = (patches.float() @ pooled.float()[..., None])[..., 0].clamp_min(0)  # (..., n)
    agreement = agreement + floor * agreement.mean(-1, keepdim=True) + torch.finfo(torch.float32).tiny
    return agreement / agreement.sum(-1, keepdim=True)


def cosines(patches: Tensor, others: Tensor) -> Tensor:
    """(B, N, n, m) of patches (B, n, d) with those of N others, (B, N, m, d)."""
    unit = F.normalize(patches.float(), dim=-1)
    return unit[:, None] @ F.normalize(others.float(), dim=-1).mT


def match_by_mutual_patches(patches: Tensor, others: Tensor, pairs: int) -> Matches:
    """Matches by the mean cosine of the best mutual nearest patches; a pair that is missing counts 0.

    Args:
        patches: (B, n, d).
        others: (B, N, m, d).
        pairs: how many, at most n.
    """
    cosine = cosines(patches, others)
    best, column = cosine.max(3)  # (B, N, n)
    rows = torch.arange(cosine.shape[2], device=cosine.device)
    mutual = cosine.argmax(2).gather(2, column) == rows
    similarity, query = best.masked_fill(~mutual, -torch.inf).topk(pairs, 2)  # (B, N, p)
    there = similarity.isfinite()
    similarity = similarity.masked_fill(~there, 0.0)
    place = column.gather(2, query)
    return Matches(similarity.mean(2), query.masked_fill(~there, -1), place.masked_fill(~there, -1), similarity)


def match_by_transport(patches: Tensor, others: Tensor, pairs: int, epsilon: float, steps: int) -> Matches:
    """Matches by 1 - the earth mover's distance, whose cost is 1 - cosine and whose marginals are cross-correlations.

    The pairs are those that carry the largest part of the transported similarity.

    Args:
        patches: (B, n, d).
        others: (B, N, m, d).
        pairs: how many, at most n.
        epsilon, steps: see `sinkhorn`.
    """
    cosine = cosines(patches, others)
    rows = cross_correlation(patches[:, None], others.mean(2))  # (B, N, n)
    columns = cross_correlation(others, patches.mean(1)[:, None])  # (B, N, m)
    plan = sinkhorn(1 - cosine, rows, columns, epsilon, steps)
    carried = plan * cosine
    cell = carried.flatten(2).topk(pairs, 2).indices  # (B, N, p)
    query, place = cell // cosine.shape[3], cell % cosine.shape[3]
    return Matches(carried.sum((2, 3)), query, place, cosine.flatten(2).gather(2, cell))
