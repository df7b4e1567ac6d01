"""Risk scores: few binary features with small whole numbers of points, by the logistic loss.

Liu, Zhong, Li, Seltzer, Rudin: "FasterRisk: Fast and Accurate Interpretable Risk Scores", NeurIPS 2022,
arXiv 2210.05846. Sparse logistic regressions are found by beam search, and others near them by swaps; each is scaled by
several factors and rounded one coefficient after the other, so that a bound of the logistic loss grows least.

Rows that agree in the s literals of a model are one of 2^s cells, so that only the choice of literals reads all rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-5  # of squared coefficients: keeps those of separable data finite
MOST = 12  # literals of a model


@dataclass(frozen=True)
class Rows:
    """Training rows.

    Attributes:
        literals: (P, N) in {0, 1}, fp64.
        sign: (N,) -1 or 1, the class.
        weight: (N,) of sum 1.
    """

    literals: Tensor
    sign: Tensor
    weight: Tensor


class Cells(NamedTuple):
    """The rows as M models of s literals see them.

    Attributes:
        design: (2^s, 1 + s) in {0, 1}: a 1 for the intercept, and the literals of each cell.
        weight: (M, 2, 2^s) weight of the rows of each class in each cell.
        row: (M, N) cell of each row.
    """

    design: Tensor
    weight: Tensor
    row: Tensor


@dataclass(frozen=True)
class RiskScore:
    """Points of literals: the log-odds are (sum of points - offset) / multiplier."""

    literals: list[int]
    points: list[int]
    offset: float
    multiplier: float
    loss: float


@dataclass(frozen=True)
class Search:
    """Options of the search.

    Attributes:
        features: largest number of literals, at most 12.
        largest: largest absolute number of points.
        beam: supports that are kept at each size, and children of each.
        pool: sparse models that are rounded.
        swaps: literals that replace each one of the best model.
        gap: relative loss that a model of the pool may have above the best.
        rays: factors by which each model is scaled before it is rounded.
    """

    features: int = 5
    largest: int = 5
    beam: int = 10
    pool: int = 50
    swaps: int = 20
    gap: float = 0.05
    rays: int = 20


def find_risk_score(rows: Rows, search: Search) -> RiskScore:
    """The best risk score that the search finds, after single points are changed as long as the loss falls."""
    supports = _beam_search(rows, search)
    supports = _distinct(torch.cat([supports, _swaps(rows, supports[0], search)]))
    cells = tabulate(rows, supports)
    beta, losses = fit_logistic(cells)
    order = losses.argsort()[: search.pool]
    order = order[losses[order] <= losses[order[0]] * (1 + search.gap)]
    scores = []
    for i in order.tolist():
        points = rounded(cells.design, cells.weight[i], beta[i], search)
        scores.append(_best_of(cells.design, cells.weight[i], supports[i], points))
    first = min(range(len(scores)), key=lambda i: scores[i].loss)
    return _polished(cells.design, cells.weight[order[first]], scores[first], search.largest)


def tabulate(rows: Rows, supports: Tensor) -> Cells:
    """The cells of models with supports (M, s)."""
    count, size = supports.shape
    row = torch.zeros(count, len(rows.sign), dtype=torch.long, device=supports.device)
    for i in range(size):
        row += rows.literals[supports[:, i]].long() << i
    place = row + (rows.sign > 0).long() * 2**size
    weight = rows.weight.new_zeros(count, 2 * 2**size).scatter_add_(1, place, rows.weight.expand(count, -1))
    number = torch.arange(2**size, device=supports.device)[:, None]
    bits = number >> torch.arange(size, device=supports.device) & 1
    return Cells(F.pad(bits, (1, 0), value=1).to(weight), weight.unflatten(1, (2, -1)), row)


def logistic_loss(weight: Tensor, score: Tensor) -> Tensor:
    """Mean loss (...,) of cells with weights (..., 2, T) and scores (..., T)."""
    return (weight[..., 0, :] * F.softplus(score) + weight[..., 1, :] * F.softplus(-score)).sum(-1)


def fit_logistic(cells: Cells, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Logistic regressions: coefficients (M, 1 + s), the intercept first, and losses (M,)."""
    x, weight = cells.design, cells.weight
    beta = x.new_zeros(len(weight), x.shape[1])
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)

    def objective(b: Tensor) -> Tensor:
        return logistic_loss(weight, b @ x.T) + RIDGE / 2 * b.square().sum(1)

    for _ in range(steps):  # of Newton, halved where the loss would grow
        p, total = torch.sigmoid(beta @ x.T), weight.sum(1)  # (M, T)
        gradient = (p * total - weight[:, 1]) @ x + RIDGE * beta
        hessian = ((p * (1 - p) * total)[:, :, None] * x).mT @ x + RIDGE * eye
        step, before = torch.linalg.solve(hessian, gradient), objective(beta)
        for _ in range(20):
            worse = objective(beta - step) > before + 1e-12
            if not bool(worse.any()):
                break
            step = torch.where(worse[:, None], step / 2, step)
        beta = beta - step
        if float(step.abs().max()) < 1e-8:
            break
    return beta, logistic_loss(weight, beta @ x.T)


def _slopes(rows: Rows, supports: Tensor) -> Tensor:
    """(M, P): how fast the loss falls with each further literal; -1 for those in the support."""
    cells = tabulate(rows, supports)
    beta, _ = fit_logistic(cells)
    score = (beta @ cells.design.T).gather(1, cells.row)  # (M, N)
    slopes = (torch.sigmoid(-rows.sign * score) * rows.sign * rows.weight) @ rows.literals.T
    return slopes.abs().scatter(1, supports, -1.0)


def _distinct(supports: Tensor) -> Tensor:
    """The supports (M, s) without repetition, each in increasing order."""
    seen = dict.fromkeys(tuple(row) for row in supports.sort(1).values.tolist())
    return supports.new_tensor(list(seen))


def _beam_search(rows: Rows, search: Search) -> Tensor:
    """Supports (M, s) of sparse logistic regressions, the best first."""
    literals = len(rows.literals)
    supports = torch.zeros(1, 0, dtype=torch.long, device=rows.literals.device)
    for size in range(min(search.features, literals)):
        children = _slopes(rows, supports).topk(min(search.beam, literals - size)).indices
        supports = torch.cat([supports.repeat_interleave(children.shape[1], 0), children.view(-1, 1)], 1)
        supports = _distinct(supports)
        losses = fit_logistic(tabulate(rows, supports))[1]
        supports = supports[losses.argsort()[: search.beam]]
    return supports


def _swaps(rows: Rows, support: Tensor, search: Search) -> Tensor:
    """Supports in which one literal is replaced by one of those that lower the loss fastest."""
    size, literals = len(support), len(rows.literals)
    count = min(search.swaps, literals - size)
    if not count:
        return support[None]
    rest = torch.stack([support[torch.arange(size) != i] for i in range(size)])  # (s, s - 1)
    new = _slopes(rows, rest).scatter(1, support[:, None], -1.0).topk(count).indices
    return torch.cat([rest.repeat_interleave(count, 0), new.view(-1, 1)], 1)


def rounded(x: Tensor, weight: Tensor, beta: Tensor, search: Search) -> Tensor:
    """Points (R, s) of a logistic regression beta (1 + s,), which is scaled by R factors and rounded.

    Args:
        x: (T, 1 + s) cells.
        weight: (2, T) of the classes in them.
        beta: the regression.
        search: the options.
    """
    largest = search.largest / beta[1:].abs().max().clamp_min(1e-9)
    factors = torch.linspace(1 / search.largest, 1, search.rays, dtype=beta.dtype, device=beta.device) * largest
    scaled = factors[:, None] * beta
    scaled = torch.where((scaled - scaled.round()).abs() < 1e-9, scaled.round(), scaled)
    # The least margin of a row, over all roundings, bounds the slope of its loss.
    lowest, highest = ((ends / factors[:, None]) @ x.T for ends in (scaled.floor(), scaled.ceil()))  # (R, T)
    slope = weight[1] * torch.sigmoid(-lowest).square() + weight[0] * torch.sigmoid(highest).square()
    gram = (x * slope[:, :, None]).mT @ x  # (R, 1 + s, 1 + s)
    return sequential_rounding(scaled, gram)[:, 1:]


def sequential_rounding(values: Tensor, gram: Tensor) -> Tensor:
    """Rounds values (R, n) one after the other, up or down, so that dᵀ gram d of the differences d grows least."""
    down, up = values.floor() - values, values.ceil() - values
    difference, left = torch.zeros_like(values), down != up
    diagonal = gram.diagonal(dim1=1, dim2=2)
    while bool(left.any()):
        slope = 2 * (gram @ difference[:, :, None])[:, :, 0]
        growth = torch.cat([d * slope + d.square() * diagonal for d in (down, up)], 1)  # (R, 2 n)
        best = growth.masked_fill(~left.repeat(1, 2), torch.inf).argmin(1, keepdim=True)
        chosen = torch.zeros_like(growth, dtype=torch.bool).scatter(1, best, True) & left.any(1, keepdim=True)
        lower, raise_ = chosen.chunk(2, 1)
        difference = torch.where(lower, down, torch.where(raise_, up, difference))
        left = left & ~lower & ~raise_
    return (values + difference).round()


def calibrate(x: Tensor, weight: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets, multipliers and losses (R,) of points (R, s): a logistic regression on the sum of the points each.

    The multiplier is positive; points that lower the log-odds on average get one that makes them count almost nothing.

    Args:
        x: (T, 1 + s) cells.
        weight: (2, T) of the classes in them.
        points: whole numbers.
    """
    totals = points @ x[:, 1:].T  # (R, T)
    unit = totals.abs().max().clamp_min(1)
    t, mass = totals / unit, weight.sum(0)
    beta, ridge = points.new_zeros(len(points), 2), RIDGE * torch.tensor([1.0, float(unit) ** -2]).to(points)
    for _ in range(60):  # of Newton, at most 4 long
        p = torch.sigmoid(beta[:, :1] + beta[:, 1:] * t)
        error, curvature = p * mass - weight[1], p * (1 - p) * mass
        gradient = torch.stack([error.sum(1), (error * t).sum(1)], 1) + ridge * beta
        cross = (curvature * t).sum(1)
        hessian = torch.stack([curvature.sum(1), cross, cross, (curvature * t.square()).sum(1)], 1).view(-1, 2, 2)
        step = torch.linalg.solve(hessian + torch.diag(ridge), gradient)
        beta = beta - step / (step.abs().amax(1, keepdim=True) / 4).clamp_min(1)
        if float(step.abs().max()) < 1e-9:
            break
    slope = (beta[:, 1] / unit).clamp_min(1e-6)
    return -beta[:, 0] / slope, 1 / slope, logistic_loss(weight, beta[:, :1] + slope[:, None] * totals)


def _best_of(x: Tensor, weight: Tensor, support: Tensor, points: Tensor) -> RiskScore:
    """The calibrated risk score of least loss among points (R, s)."""
    offsets, multipliers, losses = calibrate(x, weight, points)
    i = int(losses.argmin())
    whole = [round(p) for p in points[i].tolist()]
    return RiskScore(support.tolist(), whole, float(offsets[i]), float(multipliers[i]), float(losses[i]))


def _polished(x: Tensor, weight: Tensor, score: RiskScore, largest: int) -> RiskScore:
    """The score after changes of the points of one literal at a time, as long as the loss falls."""
    support, choices = torch.tensor(score.literals), torch.arange(-largest, largest + 1).to(x)
    while True:
        points = x.new_tensor(score.points)
        others = points.repeat(len(points), len(choices), 1)
        for i in range(len(points)):
            others[i, :, i] = choices
        found = _best_of(x, weight, support, others.flatten(0, 1))
        if found.loss >= score.loss - 1e-9:
            return score
        score = found
