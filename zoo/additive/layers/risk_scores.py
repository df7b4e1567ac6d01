"""Risk scores: few binary features with small whole numbers of points, by the logistic loss.

Liu, Zhong, Li, Seltzer, Rudin: "FasterRisk: Fast and Accurate Interpretable Risk Scores", NeurIPS 2022,
arXiv 2210.05846. Sparse logistic regressions are found by beam search, and others near them by swaps; each is scaled by
several factors and rounded one coefficient after the other, so that a bound of the logistic loss grows least.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-5  # of squared coefficients, per row: keeps those of separable data finite
CHUNK = 2**23  # numbers of the largest temporary


@dataclass(frozen=True)
class Rows:
    """Training rows.

    Attributes:
        literals: (N, P) in {0, 1}, fp64.
        sign: (N,) -1 or 1, the class.
        weight: (N,) of sum 1.
    """

    literals: Tensor
    sign: Tensor
    weight: Tensor

    def loss(self, score: Tensor) -> Tensor:
        """(...,) mean logistic loss of scores (..., N)."""
        return F.softplus(-self.sign * score) @ self.weight


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
        features: largest number of literals.
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
    coefficients, losses = fit_logistic(rows, supports)
    order = losses.argsort()[: search.pool]
    order = order[losses[order] <= losses[order[0]] * (1 + search.gap)]
    best: RiskScore | None = None
    for support, coefficient in zip(supports[order], coefficients[order], strict=True):
        found = best_of(rows, support, rounded(rows, support, coefficient, search))
        if best is None or found.loss < best.loss:
            best = found
    if best is None:
        raise ValueError("the rows have no literals to choose from.")
    return _polished(rows, best, search.largest)


def fit_logistic(rows: Rows, supports: Tensor, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Logistic regressions on supports (M, s): coefficients (M, 1 + s), the intercept first, and losses (M,)."""
    parts = supports.split(max(1, CHUNK // (len(rows.sign) * (supports.shape[1] + 1))))
    found = [_fit(rows, part, steps) for part in parts]
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def _design(rows: Rows, supports: Tensor) -> Tensor:
    """(M, N, 1 + s)."""
    return F.pad(rows.literals.T[supports].mT, (1, 0), value=1.0)


def _fit(rows: Rows, supports: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Newton steps, halved where the loss would grow."""
    x = _design(rows, supports)
    beta = x.new_zeros(len(x), x.shape[2])
    eye = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)

    def objective(b: Tensor) -> Tensor:
        return rows.loss((x @ b[:, :, None])[:, :, 0]) + RIDGE / 2 * b.square().sum(1)

    loss = objective(beta)
    for _ in range(steps):
        p = torch.sigmoid((x @ beta[:, :, None])[:, :, 0])
        gradient = ((p - (rows.sign > 0).to(p)) * rows.weight)[:, None] @ x  # (M, 1, 1 + s)
        hessian = (x * (p * (1 - p) * rows.weight)[:, :, None]).mT @ x + RIDGE * eye
        step = torch.linalg.solve(hessian, gradient[:, 0] + RIDGE * beta)
        size = torch.ones_like(loss)
        for _ in range(20):
            worse = objective(beta - size[:, None] * step) > loss + 1e-12
            if not bool(worse.any()):
                break
            size = torch.where(worse, size / 2, size)
        beta = beta - size[:, None] * step
        loss = objective(beta)
        if float((size[:, None] * step).abs().max()) < 1e-7:
            break
    return beta, rows.loss((x @ beta[:, :, None])[:, :, 0])


def _gradients(rows: Rows, supports: Tensor, beta: Tensor) -> Tensor:
    """(M, P): how fast the loss falls with each further literal; -1 for those in the support."""
    score = (_design(rows, supports) @ beta[:, :, None])[:, :, 0]
    slopes = ((rows.sign * torch.sigmoid(-rows.sign * score) * rows.weight) @ rows.literals).abs()
    return slopes.scatter(1, supports, -1.0)


def _distinct(supports: Tensor) -> Tensor:
    """The supports (M, s) without repetition, each in increasing order."""
    seen = dict.fromkeys(tuple(row) for row in supports.sort(1).values.tolist())
    return supports.new_tensor(list(seen))


def _beam_search(rows: Rows, search: Search) -> Tensor:
    """Supports (M, s) of sparse logistic regressions, the best first."""
    literals = rows.literals.shape[1]
    supports = torch.zeros(1, 0, dtype=torch.long, device=rows.literals.device)
    for size in range(min(search.features, literals)):
        beta, _ = fit_logistic(rows, supports)
        children = _gradients(rows, supports, beta).topk(min(search.beam, literals - size)).indices
        supports = torch.cat([supports.repeat_interleave(children.shape[1], 0), children.view(-1, 1)], 1)
        supports = _distinct(supports)
        _, losses = fit_logistic(rows, supports)
        supports = supports[losses.argsort()[: search.beam]]
    return supports


def _swaps(rows: Rows, support: Tensor, search: Search) -> Tensor:
    """Supports in which one literal is replaced by one of those that lower the loss fastest."""
    size, literals = len(support), rows.literals.shape[1]
    count = min(search.swaps, literals - size)
    if not count:
        return support[None]
    rest = torch.stack([support[torch.arange(size) != i] for i in range(size)])  # (s, s - 1)
    beta, _ = fit_logistic(rows, rest)
    slopes = _gradients(rows, rest, beta).scatter(1, support[:, None], -1.0)
    new = slopes.topk(count).indices
    return torch.cat([rest.repeat_interleave(count, 0), new.view(-1, 1)], 1)


def rounded(rows: Rows, support: Tensor, beta: Tensor, search: Search) -> Tensor:
    """Points (R, s) of a logistic regression beta (1 + s,), which is scaled by R factors and rounded."""
    largest = search.largest / beta[1:].abs().max().clamp_min(1e-9)
    factors = torch.linspace(1 / search.largest, 1, search.rays, dtype=beta.dtype, device=beta.device) * largest
    x, scaled = _design(rows, support[None])[0], factors[:, None] * beta  # (N, 1 + s), (R, 1 + s)
    scaled = torch.where((scaled - scaled.round()).abs() < 1e-9, scaled.round(), scaled)
    floor, ceil = scaled.floor(), scaled.ceil()
    # The least margin of a row, over all roundings, bounds the slope of its loss.
    margin = torch.where(rows.sign > 0, (floor / factors[:, None]) @ x.T, -(ceil / factors[:, None]) @ x.T)
    weight = torch.sigmoid(-margin).square() * rows.weight  # (R, N)
    gram = (x * weight[:, :, None]).mT @ x  # (R, 1 + s, 1 + s)
    return sequential_rounding(scaled, gram)[:, 1:]


def sequential_rounding(values: Tensor, gram: Tensor) -> Tensor:
    """Rounds values (R, n) one after the other, up or down, so that dᵀ gram d of the differences d grows least."""
    down, up = values.floor() - values, values.ceil() - values
    difference = torch.zeros_like(values)
    left = down != up
    diagonal = gram.diagonal(dim1=1, dim2=2)
    while bool(left.any()):
        slope = 2 * (gram @ difference[:, :, None])[:, :, 0]
        growth = torch.cat([d * slope + d.square() * diagonal for d in (down, up)], 1)  # (R, 2 n)
        best = growth.masked_fill(~left.repeat(1, 2), torch.inf).argmin(1, keepdim=True)
        chosen = torch.zeros_like(growth, dtype=torch.bool).scatter(1, best, True)
        chosen &= left.any(1, keepdim=True)
        chosen_down, chosen_up = chosen.chunk(2, 1)
        difference = torch.where(chosen_down, down, torch.where(chosen_up, up, difference))
        left = left & ~chosen_down & ~chosen_up
    return (values + difference).round()


def calibrate(rows: Rows, support: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets, multipliers and losses (R,) of points (R, s): a logistic regression on the sum of the points each.

    The multiplier is positive; points that lower the log-odds on average get one that makes them count almost nothing.
    """
    totals = (rows.literals[:, support] @ points.T).round().long().T  # (R, N)
    low = int(totals.min())
    t = torch.arange(low, int(totals.max()) + 1, dtype=points.dtype, device=points.device)
    counts = points.new_zeros(2, len(points), len(t))  # weight of the rows of each class with each total
    for side, weight in enumerate((rows.weight * (rows.sign < 0), rows.weight * (rows.sign > 0))):
        counts[side].scatter_add_(1, totals - low, weight.expand_as(totals))
    unit = t.abs().max().clamp_min(1)
    x = torch.stack([torch.ones_like(t), t / unit], 1)  # (T, 2)
    beta, ridge = points.new_zeros(len(points), 2), RIDGE * torch.tensor([1.0, unit**-2]).to(points)
    for _ in range(60):
        p = torch.sigmoid(beta @ x.T)  # (R, T)
        gradient = (p * counts.sum(0) - counts[1]) @ x + ridge * beta
        curvature = (p * (1 - p) * counts.sum(0))[:, :, None] * x
        step = torch.linalg.solve(curvature.mT @ x + torch.diag(ridge), gradient)
        beta = beta - step / (step.abs().amax(1, keepdim=True) / 4).clamp_min(1)
        if float(step.abs().max()) < 1e-9:
            break
    slope = (beta[:, 1] / unit).clamp_min(1e-6)
    score = beta[:, :1] + slope[:, None] * t
    losses = (counts[1] * F.softplus(-score) + counts[0] * F.softplus(score)).sum(1)
    return -beta[:, 0] / slope, 1 / slope, losses


def best_of(rows: Rows, support: Tensor, points: Tensor) -> RiskScore:
    """The calibrated risk score of least loss among points (R, s)."""
    offsets, multipliers, losses = calibrate(rows, support, points)
    i = int(losses.argmin())
    whole = [round(p) for p in points[i].tolist()]
    return RiskScore(support.tolist(), whole, float(offsets[i]), float(multipliers[i]), float(losses[i]))


def _polished(rows: Rows, score: RiskScore, largest: int) -> RiskScore:
    """The score after changes of the points of one literal at a time, as long as the loss falls."""
    support = torch.tensor(score.literals, device=rows.literals.device)
    choices = torch.arange(-largest, largest + 1, dtype=rows.literals.dtype, device=rows.literals.device)
    while True:
        points = rows.literals.new_tensor(score.points)
        other = points.repeat(len(points), len(choices), 1)
        for i in range(len(points)):
            other[i, :, i] = choices
        found = best_of(rows, support, other.flatten(0, 1))
        if found.loss >= score.loss - 1e-9:
            return score
        score = found
