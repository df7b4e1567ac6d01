"""Pure functions of tensors that several packages share."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_fp32(tensor: Tensor) -> Tensor:
    """A tensor of half precision in fp32; others, such as those of fp64 and of integers, as they are."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def squared_distances(z: Tensor, prototypes: Tensor) -> Tensor:
    """Squared Euclidean distance of every cell to every prototype, in fp32.

    |z - p|² = [z, |z|², 1] · [-2p, 1, |p|²], clamped at 0: one batched matrix product, no (B, P, D, H, W) temporary.
    Each gradient is one product as well; it is that of |z - p|², as the clamp only removes rounding errors. Both sides
    are first centred on the prototypes' mean, which reduces cancellation: the error is about 1e-7 times the squared
    spread. Where small distances matter, see `distances_at`.

    Args:
        z: (B, D, H, W).
        prototypes: (P, D).

    Returns:
        (B, P, H, W), >= 0.
    """
    with torch.autocast(z.device.type, enabled=False):
        centre = at_least_fp32(prototypes.detach()).mean(0)
        cells, vectors = at_least_fp32(z).flatten(2) - centre[:, None], at_least_fp32(prototypes) - centre
        learns = torch.is_grad_enabled() and (cells.requires_grad or vectors.requires_grad)
        distances = _SquaredDistances.apply(cells, vectors) if learns else _product(*_sides(cells, vectors))
    return distances.unflatten(2, z.shape[2:])


def _sides(cells: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(P, D + 2) and (B, D + 2, HW), whose products are the squared distances."""
    one, all_ = torch.ones_like(vectors[:, :1]), torch.ones_like(cells[:, :1])
    left = torch.cat([-2 * vectors, one, vectors.square().sum(1, keepdim=True)], 1)
    return left, torch.cat([cells, cells.square().sum(1, keepdim=True), all_], 1)


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right).clamp_min_(0)


class _SquaredDistances(torch.autograd.Function):
    """Saves only its inputs for the backward pass, which can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(cells, vectors)
        return _product(*_sides(cells, vectors))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,), (cells, vectors) = grad_outputs, ctx.saved_tensors
        (left, right), dim, of_cells, of_vectors = _sides(cells, vectors), vectors.shape[1], None, None
        if ctx.needs_input_grad[0]:
            product = left.T @ grad  # (B, D + 2, HW), with the sum over prototypes in row D
            of_cells = torch.addcmul(product[:, :dim], cells, product[:, dim : dim + 1], value=2)
        if ctx.needs_input_grad[1]:
            product = torch.einsum("bpn,bdn->pd", grad, right)  # (P, D + 2), the sum over cells last
            of_vectors = torch.addcmul(-2 * product[:, :dim], vectors, product[:, -1:], value=2)
        return of_cells, of_vectors


def distances_at(z: Tensor, prototypes: Tensor, cell: Tensor) -> Tensor:
    """Squared distance of each prototype to one cell of each image, from differences, so exact down to 0.

    Args:
        z: (B, D, H, W).
        prototypes: (P, D).
        cell: (B, P) index of the cell, row by row.

    Returns:
        (B, P) fp32.
    """
    cells, vectors = at_least_fp32(z).flatten(2).mT, at_least_fp32(prototypes)  # (B, HW, D), (P, D)
    parts = []
    for chosen, chunk in zip(cell.split(256, 1), vectors.split(256), strict=True):  # bounds the (B, P, D) temporary
        parts.append((cells.gather(1, chosen[..., None].expand(-1, -1, cells.shape[2])) - chunk).square().sum(2))
    return torch.cat(parts, 1)


def log_similarity(distances: Tensor, epsilon: float = 1e-4) -> Tensor:
    """log((d + 1) / (d + epsilon)), in (0, log(1/epsilon)] (Chen et al., NeurIPS 2019, section 2.1)."""
    return torch.log1p((1 - epsilon) / (distances + epsilon))


def tied(values: Tensor, step: float = 2**-16) -> Tensor:
    """Rounds values to multiples of `step`, so that values that differ by rounding errors are equal.

    For selecting the largest of several cosines: equal patches have a cosine of 1 up to rounding errors, which depend
    on the processor and the batch size, and so would the selection.
    """
    return (values / step).round() * step


def sparsemax(scores: Tensor, dim: int = -1) -> Tensor:
    """Projects scores onto the simplex: like a softmax, but with exact zeros.

    max(0, z - τ) with τ = (Σ_{r <= k} z_(r) - 1) / k and k the largest number with 1 + k z_(k) > Σ_{r <= k} z_(r)
    (Martins, Astudillo, ICML 2016, algorithm 1).
    """
    z = at_least_fp32(scores).movedim(dim, -1)
    z = z - z.detach().amax(-1, keepdim=True)  # the result is the same; 1 + z > z fails for scores above 2^24
    ordered = z.sort(-1, descending=True).values
    total = ordered.cumsum(-1)
    number = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    size = (1 + number * ordered > total).sum(-1, keepdim=True).clamp_min(1)  # 0 for NaN, which is passed on
    threshold = (total.gather(-1, size - 1) - 1) / size
    return (z - threshold).clamp_min(0).movedim(-1, dim)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes maps (..., h, w) on a feature grid to the pixels of an input (..., H, W), bicubic."""
    flat = at_least_fp32(maps).reshape(-1, 1, *maps.shape[-2:])
    return F.interpolate(flat, size, mode="bicubic", align_corners=False).reshape(*maps.shape[:-2], *size)


def high_activation_box(maps: Tensor, percentile: float = 95.0) -> Tensor:
    """Smallest rectangle that contains all cells at or above a percentile of each map.

    Where that percentile is 0, as of a map that fires in few cells only, the rectangle of the cells above 0.

    Args:
        maps: (N, H, W).
        percentile: in (0, 100].

    Returns:
        (N, 4) int64, (top, left, bottom, right) in cells; bottom and right are exclusive.
    """
    height, width = maps.shape[1:]
    rank = math.ceil(percentile * (height * width - 1) / 100) + 1  # the lowest cell that is in; interpolates linearly
    threshold = maps.flatten(1).kthvalue(rank, dim=1).values[:, None, None]
    fires = maps > 0
    high = (maps >= threshold) & (fires | (threshold != 0) | ~fires.any((1, 2), keepdim=True))  # never empty
    rows, columns = high.any(2).to(torch.uint8), high.any(1).to(torch.uint8)
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = height - rows.flip(1).argmax(1), width - columns.flip(1).argmax(1)
    return torch.stack([top, left, bottom, right], 1)


def region_around(box: Tensor, size: tuple[int, int], context: float = 2.0) -> Tensor:
    """Square around a box, inside the image, that shows the box with its surroundings.

    Args:
        box: (4,) top, left, bottom, right.
        size: height and width of the image; the square is at most as large as the shorter of the two.
        context: side of the square, as a multiple of the box's longer side.

    Returns:
        (4,) int64.
    """
    top, left, bottom, right = box.tolist()
    side = min(round(max(bottom - top, right - left) * context), *size)
    first = min(max((top + bottom - side) // 2, 0), size[0] - side)
    second = min(max((left + right - side) // 2, 0), size[1] - side)
    return torch.tensor([first, second, first + side, second + side])


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 along the last dimension, ties share their mean rank; values (..., n) to fp64 (..., n)."""
    ordered, order = values.double().sort(-1)
    ordered = ordered.contiguous()
    before, through = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    return torch.empty_like(ordered).scatter(-1, order, (before + through + 1).double() / 2)


def area_under_roc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of each column, exact, ties counted half; NaN where a column has one kind of label only.

    Args:
        scores: (N, k), such as probabilities; higher means present.
        labels: (N, k) in {0, 1, NaN}; NaN are ignored.

    Returns:
        (k,) fp64 in [0, 1].
    """
    known = labels.isfinite()
    lowest = scores.new_full((), -torch.inf)  # unknown rows get the lowest ranks, which are then subtracted
    place = ranks(torch.where(known, scores, lowest).T).T - (~known).sum(0)
    present, absent = (labels == 1).sum(0).double(), (labels == 0).sum(0).double()
    total = torch.where(labels == 1, place, 0.0).sum(0)
    return (total - present * (present + 1) / 2) / (present * absent)


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Average precision of each column, exact, equal scores taken together; NaN where nothing is present.

    Σ_i (R_i - R_{i-1}) P_i over the distinct thresholds i, with precision P and recall R.

    Args:
        scores: (N, k); higher means present.
        labels: (N, k) in {0, 1}.

    Returns:
        (k,) fp64 in [0, 1].
    """
    ordered, place = scores.sort(0, descending=True)
    present = labels.gather(0, place).double()
    found = present.cumsum(0)
    precision = found / torch.arange(1, len(scores) + 1, device=scores.device).double()[:, None]
    last = torch.ones_like(ordered, dtype=torch.bool)  # the last row of each run of equal scores
    last[:-1] = ordered[1:] != ordered[:-1]
    upto = torch.where(last, found, 0.0).cummax(0).values  # found at the thresholds before and here
    before = torch.cat([upto.new_zeros(1, upto.shape[1]), upto[:-1]])
    return (torch.where(last, found - before, 0.0) * precision).sum(0) / found[-1]


def clusterability(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Share of a matrix's squared entries that lie between rows and columns of the same cluster.

    C = Σ_c Σ_{i in U_c, j in V_c} W_ij² / Σ_ij W_ij²: 1 for a block-diagonal matrix, 1 / k without structure.

    Args:
        weight: (m, n).
        rows: (m,) cluster of each row.
        columns: (n,) cluster of each column.

    "Studying Cross-cluster Modularity in Neural Networks", arXiv 2502.02470.
    """
    squares = weight.square()
    return (squares * (rows[:, None] == columns)).sum() / squares.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def equal_clusters(size: int, count: int, device: torch.device | None = None) -> Tensor:
    """Assigns `size` entries in order to clusters 0 to count - 1 of nearly equal size; returns (size,) int64."""
    return torch.arange(size, device=device) * count // size
