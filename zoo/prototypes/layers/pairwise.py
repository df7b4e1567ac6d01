"""How well two images match, patch by patch: by mutual nearest patches or by optimal transport."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32, tied


class Matches(NamedTuple):
    """How well B images match N others each, and the best p pairs of patches.

    Attributes:
        value: (B, N), higher is better.
        query: (B, N, p) cell of each pair in the image, the best pair first; -1 where there are fewer pairs.
        other: (B, N, p) cell of each pair in the other image; -1 where there are fewer pairs.
        similarity: (B, N, p) cosine of each pair; 0 where there are fewer pairs.
    """

    value: Tensor
    query: Tensor
    other: Tensor
    similarity: Tensor


def match_by_mutual_patches(patches: Tensor, others: Tensor, pairs: int, uniform: bool = False) -> Matches:
    """Matches by the best mutual nearest patches: Σ √(a_i b_j) cos(z_i, c_j), at most 1; a missing pair adds 0.

    Pairs that are equal up to rounding rank by their cells, lowest first.

    Args:
        patches: (B, n, d), z.
        others: (B, N, m, d), c.
        pairs: number of pairs, at most n.
        uniform: give every pair the weight 1 / pairs instead of that of its cross-correlations a and b.
    """
    cosine = cosines(patches, others)
    best, column = cosine.max(3)  # (B, N, n)
    back = cosine.max(2).indices  # (B, N, m); three times as fast as argmax
    mutual = back.gather(2, column) == torch.arange(cosine.shape[2], device=cosine.device)
    if uniform:
        weight = torch.full_like(best, 1 / pairs)
    else:
        rows, columns = marginals(patches, others)
        weight = (rows * columns.gather(2, column)).sqrt()
    part = (weight * best).masked_fill(~mutual, -torch.inf)
    query = tied(part).sort(dim=2, descending=True, stable=True).indices[..., :pairs]  # (B, N, p)
    part = part.gather(2, query)
    there = part.isfinite()
    place, similarity = column.gather(2, query), best.gather(2, query)
    return Matches(
        part.masked_fill(~there, 0).sum(2),
        query.masked_fill(~there, -1),
        place.masked_fill(~there, -1),
        similarity.masked_fill(~there, 0),
    )


def match_by_transport(
    patches: Tensor,
    others: Tensor,
    pairs: int,
    epsilon: float,
    steps: int,
    uniform: bool = False,
    every: bool = False,
) -> Matches:
    """Matches by optimal transport, with the cost 1 - cosine and cross-correlations as marginals.

    The value is Σ T_ij cos(z_i, c_j) over the pairs with the largest flows T_ij, or over all of them, which is 1 - the
    earth mover's distance.

    Args:
        patches: (B, n, d).
        others: (B, N, m, d).
        pairs: number of pairs, at most n·m.
        epsilon: see `sinkhorn`.
        steps: see `sinkhorn`.
        uniform: give all patches of an image the same weight.
        every: add up all flows; the pairs are then those with the largest terms.
    """
    cosine = cosines(patches, others)
    if uniform:
        rows = torch.full_like(cosine[..., 0], 1 / cosine.shape[2])
        columns = torch.full_like(cosine[..., 0, :], 1 / cosine.shape[3])
    else:
        rows, columns = marginals(patches, others)
    plan = sinkhorn(1 - cosine, rows, columns, epsilon, steps)
    carried = plan * cosine
    cell = (carried if every else plan).flatten(2).topk(pairs, 2).indices  # (B, N, p)
    query, place = cell // cosine.shape[3], cell % cosine.shape[3]
    value = carried.sum((2, 3)) if every else carried.flatten(2).gather(2, cell).sum(2)
    return Matches(value, query, place, cosine.flatten(2).gather(2, cell))


def marginals(patches: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-correlations a (B, N, n) of an image's patches with N other images, and b (B, N, m) of theirs with it."""
    rows = cross_correlation(patches[:, None], at_least_fp32(others).mean(2))
    return rows, cross_correlation(others, at_least_fp32(patches).mean(1)[:, None])


def cosines(patches: Tensor, others: Tensor) -> Tensor:
    """Cosines (B, N, n, m) of patches (B, n, d) with those of N other images, (B, N, m, d)."""
    unit, theirs = F.normalize(at_least_fp32(patches), dim=-1), F.normalize(at_least_fp32(others), dim=-1)
    # One product for each image instead of one for each pair of images is three times as fast.
    return torch.bmm(theirs.flatten(1, 2), unit.mT).unflatten(1, others.shape[1:3]).mT


def sinkhorn(cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float = 0.05, steps: int = 50) -> Tensor:
    """Optimal transport plans with entropic regularisation, by Sinkhorn's algorithm.

        min over T of Σ T·cost - ε H(T), T 1 = rows, Tᵀ 1 = columns       (Cuturi, NeurIPS 2013)

    For ε < 1/30 the steps are taken on logarithms, which cannot underflow; else on the scalings themselves, about ten
    times as fast, where costs in [0, 2] such as 1 - cosine do not underflow: exp(-2 · 30) is 9e-27.

    Args:
        cost: (..., n, m) in [0, 2].
        rows: (..., n) > 0, sums to 1.
        columns: (..., m) > 0, sums to 1.
        epsilon: ε; a smaller value is nearer to the earth mover's distance and needs more steps.
        steps: number of iterations, each over rows and then columns, so that `columns` are met exactly.

    Returns:
        plans (..., n, m).
    """
    kernel, a, b = -at_least_fp32(cost) / epsilon, at_least_fp32(rows), at_least_fp32(columns)
    kernel = kernel - kernel.amax(-1, keepdim=True)  # changes the scaling of a row, not the plan
    if epsilon < 1 / 30:
        return _sinkhorn_of_logarithms(kernel, a.log(), b.log(), steps)
    kernel, v = kernel.exp(), torch.ones_like(b)[..., None]
    a, b = a[..., None], b[..., None]
    u = torch.ones_like(a)
    for _ in range(steps):
        u = a / (kernel @ v)
        v = b / (kernel.mT @ u)
    return kernel * u * v.mT


def _sinkhorn_of_logarithms(kernel: Tensor, a: Tensor, b: Tensor, steps: int) -> Tensor:
    u, v = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(steps):
        u = a - torch.logsumexp(kernel + v[..., None, :], -1)
        v = b - torch.logsumexp(kernel + u[..., None], -2)
    return (kernel + u[..., None] + v[..., None, :]).exp()


def cross_correlation(patches: Tensor, pooled: Tensor, floor: float = 1e-3) -> Tensor:
    """Weights of one image's patches by their agreement with the mean of another image; they sum to 1.

    A patch that does not agree at all has the weight `floor` times the mean, so that transport stays defined.

    Args:
        patches: (..., n, d).
        pooled: (..., d), the mean of the other image's patches.
        floor: > 0.

    Returns:
        (..., n).
    """
    agreement = (at_least_fp32(patches) @ at_least_fp32(pooled)[..., None])[..., 0].clamp_min(0)  # (..., n)
    agreement = agreement + floor * agreement.mean(-1, keepdim=True) + torch.finfo(torch.float32).tiny
    return agreement / agreement.sum(-1, keepdim=True)
