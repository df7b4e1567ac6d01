"""Mutual information of continuous and discrete variables, in nats.

Kraskov, Stögbauer, Grassberger: "Estimating mutual information", Phys. Rev. E 69, 2004 (the first estimator).
Ross: "Mutual information between discrete and continuous data sets", PLoS ONE 9(2), 2014.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import KDTree  # SciPy comes with scikit-learn
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.progress import track

LEVELS = 20  # a variable with at most this number of distinct values is discrete
NOISE = 1e-10  # standard deviation of the noise that breaks ties
BLOCK = 2**22  # distances computed at a time
WIDEST = 8  # largest number of dimensions for nearest neighbours


def mutual_information(
    x: Tensor, y: Tensor | None = None, neighbours: int = 3, repeats: int = 1, seed: int = 0, progress: str = ""
) -> Tensor:
    """Mutual information of each variable of x with each variable of y, or with each variable of x.

        discrete, discrete       plug-in:  H(x) + H(y) - H(x, y)
        continuous, discrete     Ross:     ψ(N) + <ψ(k)> - <ψ(N_label)> - <ψ(m)>
        continuous, continuous   Kraskov:  ψ(N) + ψ(k) - <ψ(n_x + 1) + ψ(n_y + 1)>, Chebyshev distance

    A scalar is discrete if it has an integer type or at most 20 distinct values; a vector never is. Continuous
    variables are scaled to unit variance (vectors jointly) and get noise of 1e-10 to break ties; x and y get
    independent noise even if y is x. The information of a variable about itself is the entropy of a discrete variable;
    for a continuous variable without ties it is ψ(N) - ψ(k + 1), the maximum of Kraskov's estimator, and less with
    ties. Negative estimates become 0.

    Args:
        x: (N, p), or (N, p, m) for vectors. NaN marks a missing value, in discrete variables only; such a row is
            excluded from the pairs of this variable.
        y: (N, q), (N, q, n), or None for x itself.
        neighbours: k; fewer for labels with fewer rows.
        repeats: number of estimates with new noise; their mean is returned.
        seed: of the noise.
        progress: title of a progress bar; none if empty.

    Returns:
        (p, q) float64 on the CPU, in nats; NaN for a pair without rows.

    Raises:
        ValueError: not more rows than neighbours, or a continuous variable that is not finite.
    """
    if len(x) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need at least {neighbours + 1} rows; got {len(x)}. Pass more data.")
    widest = max(t.shape[2] if t.ndim == 3 else 1 for t in (x, x if y is None else y))
    if widest > WIDEST:
        warnings.warn(
            f"nearest neighbours in {widest} dimensions underestimate information; pass scalars, such as "
            f"probabilities, or at most {WIDEST} dimensions.",
            stacklevel=2,
        )
    draw = torch.Generator().manual_seed(seed)
    left, right = _split(x), _split(x if y is None else y)
    total = torch.zeros(x.shape[1], (x if y is None else y).shape[1], dtype=torch.float64)
    for _ in range(repeats):
        total += _estimate(left, right, y is None, neighbours, draw, progress)
    return total / repeats


Split = tuple[Tensor, Tensor, Tensor]  # is discrete (p,), codes of the discrete (N, a), continuous values (N, b, m)


def _split(values: Tensor) -> Split:
    points = values.detach().cpu().double()
    points = points[..., None] if points.ndim == 2 else points
    codes = dense_codes(points[..., 0])
    discrete = codes.amax(0) < LEVELS
    if points.shape[2] > 1:
        discrete = torch.zeros_like(discrete)
    elif not values.is_floating_point():
        discrete = torch.ones_like(discrete)
    rest = points[:, ~discrete]
    if not bool(rest.isfinite().all()):
        raise ValueError("a continuous variable has NaN or infinite values; only labels may be missing (NaN).")
    rest = rest - rest.mean(0)
    return discrete, codes[:, discrete], rest / rest.square().mean(0).sum(-1).sqrt().clamp_min(1e-300)[:, None]


def dense_codes(values: Tensor) -> Tensor:
    """The rank of each value (N, p) among the distinct values of its column, from 0; -1 for NaN."""
    ordered, order = values.sort(0)
    codes = torch.zeros_like(order)
    codes[1:] = (ordered[1:] > ordered[:-1]).cumsum(0)  # NaN is last; comparisons with it are False
    return torch.empty_like(codes).scatter(0, order, codes).masked_fill(values.isnan(), -1)


def _estimate(left: Split, right: Split, same: bool, neighbours: int, draw: torch.Generator, progress: str) -> Tensor:
    (discrete, codes, points), (other_discrete, other_codes, other_points) = left, right
    points, other_points = (
        p + NOISE * torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in (points, other_points)
    )
    found = torch.zeros(len(discrete), len(other_discrete), dtype=torch.float64)
    found[discrete[:, None] & other_discrete] = plug_in(codes, other_codes).flatten()
    found[~discrete[:, None] & other_discrete] = ross(points, other_codes, neighbours).flatten()
    found[discrete[:, None] & ~other_discrete] = (
        found[~discrete][:, other_discrete].T if same else ross(other_points, codes, neighbours).T
    ).flatten()
    found[~discrete[:, None] & ~other_discrete] = kraskov(points, other_points, neighbours, same, progress).flatten()
    return found.where(found.isnan(), found.clamp_min(0))


def plug_in(x: Tensor, y: Tensor) -> Tensor:
    """(p, q) information of discrete variables, given as codes (N, p) and (N, q) from 0, -1 if missing."""
    if not x.numel() or not y.numel():
        return torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    one, other = (F.one_hot(codes + 1, max(2, int(codes.max()) + 2))[..., 1:].double() for codes in (x, y))
    counts = torch.einsum("npa,nqb->pqab", one, other)  # (p, q, levels of x, levels of y)
    shares = counts / counts.sum((2, 3), keepdim=True)
    entropy = lambda share: torch.special.entr(share).sum(-1)  # noqa: E731
    return entropy(shares.sum(3)) + entropy(shares.sum(2)) - entropy(shares.flatten(2))


def ross(x: Tensor, y: Tensor, neighbours: int) -> Tensor:
    """(p, q) information of continuous variables (N, p, m) about discrete ones (N, q), -1 if missing."""
    found = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    if not x.numel():
        return found
    for column, labels in enumerate(y.T):
        counts = labels[labels >= 0].bincount(minlength=1)
        used = (labels >= 0) & (counts[labels] > 1)  # a label with one row has no neighbour
        sizes = counts[counts > 1]
        if not len(sizes):
            found[:, column] = torch.nan
            continue
        points = x[used][labels[used].argsort()].transpose(0, 1)  # (p, n, m), label by label
        near = sizes.sub(1).clamp_max(neighbours)  # k of each label
        blocks = zip(points.split(sizes.tolist(), 1), near.tolist(), strict=True)
        inside = count_inside(points, torch.cat([_radius(block, k) for block, k in blocks], 1))
        by_label = (torch.digamma(near.double()) - torch.digamma(sizes.double())) * sizes / sizes.sum()
        all_rows = torch.digamma(sizes.sum().double())
        found[:, column] = all_rows + by_label.sum() - torch.digamma(inside.double()).mean(1)
    return found


def _radius(points: Tensor, neighbours: int) -> Tensor:
    """(p, n) Chebyshev distance of each of n points (p, n, m) to its k-th nearest neighbour."""
    count = points.shape[1]
    if points.shape[2] > 1:
        return torch.stack([nearest(variable, neighbours) for variable in points])
    ordered, order = points[..., 0].sort(1)
    padded = F.pad(ordered, (neighbours, neighbours), value=torch.inf)
    padded[:, :neighbours] = -torch.inf
    windows = padded.unfold(1, neighbours + 1, 1)  # (p, n + k, k + 1); one of them holds a point and its k nearest
    reach = torch.stack(
        [
            torch.maximum(
                ordered - windows[:, shift : shift + count, 0], windows[:, shift : shift + count, -1] - ordered
            )
            for shift in range(neighbours + 1)
        ]
    )
    return torch.empty_like(ordered).scatter(1, order, reach.amin(0))


def nearest(points: Tensor, neighbours: int) -> Tensor:
    """(n,) Chebyshev distance of each of n points (n, m) to its k-th nearest neighbour."""
    array = points.numpy()
    return torch.from_numpy(KDTree(array).query(array, neighbours + 1, p=np.inf)[0][:, -1])


def count_inside(points: Tensor, radius: Tensor) -> Tensor:
    """(p, n) the number of points (p, n, m) within the radius (p, n) of each point, itself included."""
    if points.shape[2] > 1:
        blocks = zip(distance_blocks(points), radius.split(_rows(points), 1), strict=True)
        return torch.cat([(distances < reach[..., None]).sum(2) for distances, reach in blocks], 1)
    values = points[..., 0].contiguous()
    # The k-th neighbour lies exactly on the border, so rounding would decide whether it counts.
    margin = 2 * torch.finfo(values.dtype).eps * (values.abs() + radius)
    ordered = values.sort(1).values
    last = torch.searchsorted(ordered, values + radius - margin)
    return (last - torch.searchsorted(ordered, values - radius + margin)).clamp_min(1)


def distance_blocks(points: Tensor) -> Iterator[Tensor]:
    """Chebyshev distances (p, rows, n) of blocks of the n points (p, n, m) to all of them."""
    for some in points.split(_rows(points), 1):
        yield torch.cdist(some, points, p=torch.inf)


def _rows(points: Tensor) -> int:
    return max(1, BLOCK // (points.shape[0] * points.shape[1]))


def kraskov(x: Tensor, y: Tensor, neighbours: int, same: bool = False, progress: str = "") -> Tensor:
    """(p, q) information of continuous variables x about y.

    Args:
        x: (N, p, m).
        y: (N, q, n).
        neighbours: k.
        same: x and y are the same variables, so half of the pairs are computed.
        progress: title of a progress bar; none if empty.
    """
    found = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    if not found.numel():
        return found
    x, y = x.transpose(0, 1), y.transpose(0, 1)
    crowd = _crowd_of_scalars if x.shape[2] == y.shape[2] == 1 else _crowd_of_vectors
    known = torch.tensor([float(x.shape[1]), float(neighbours)], dtype=torch.float64).digamma().sum()
    for row, one in enumerate(track(x, progress, shown=bool(progress))):
        others = y[row if same else 0 :]
        found[row, -len(others) :] = known - crowd(one, others, neighbours)
    return found.triu() + found.triu(1).T if same else found


def _crowd_of_scalars(one: Tensor, others: Tensor, neighbours: int) -> Tensor:
    """(q,) mean of ψ(n_x + 1) + ψ(n_y + 1) for one variable (N, 1) and each of others (q, N, 1)."""
    radius = torch.stack([nearest(torch.cat([one, other], 1), neighbours) for other in others])
    counts = count_inside(one.expand_as(others), radius), count_inside(others, radius)
    return torch.digamma(torch.stack(counts).double()).sum(0).mean(1)


def _crowd_of_vectors(one: Tensor, others: Tensor, neighbours: int) -> Tensor:
    """The same for vectors (N, m) and (q, N, n), by brute force, which is faster than a tree in many dimensions."""
    total, rows = torch.zeros(len(others), dtype=torch.float64), _rows(others)
    for some, far in zip(one.split(rows), distance_blocks(others), strict=True):
        near = torch.cdist(some, one, p=torch.inf)
        for column, distances in enumerate(far):  # one at a time: the block stays in the cache
            radius = torch.maximum(near, distances).topk(neighbours + 1, 1, largest=False).values[:, -1:]
            for one_sided in (near, distances):
                total[column] += torch.digamma((one_sided < radius).sum(1).double()).sum()
    return total / len(one)
