"""Fits a generalised additive model with pairs (GA2M) whose effects are tables over bins.

    score = intercept + sum_k mains[k][bin_k] + sum_(i, j) tables[(i, j)][coarse_i[bin_i], coarse_j[bin_j]]

The effects are Gaussian processes over the bins (`zoo.additive.layers.blocks`); their smoothness is estimated together
with them by restricted maximum likelihood, one to five scales an effect (`zoo.additive.layers.reml`), so that nothing
is left to tune on held-out rows. Each Newton step solves all main effects jointly: of the rows it needs weighted 2-D
histograms alone, as in Wood, Li, Shaddick, Augustin: "Generalized additive models for gigadata", JASA 2017. Pairs are
ranked by FAST on the residuals of the main effects and fitted block by block (backfitting), with the main effects
renewed in each round. At the end pairs are purified with respect to the density of the rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.additive.layers.blocks import BinColumn
from zoo.additive.layers.likelihood import Task
from zoo.additive.layers.mains import MainEffects
from zoo.additive.layers.monotone import monotone
from zoo.additive.layers.pairs import PairEffects, ranked
from zoo.additive.layers.purify import centre, purify_pair
from zoo.additive.layers.rows import Rows

STILL = 1e-3  # mean change of the scores below which a fit has converged


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit.

    Attributes:
        pairs: number of pairs, or the pairs themselves. By default three times the number of columns.
        significance: z of the score test below which a ranked pair is left out.
        monotone: for some columns of numbers whether their curve must rise (1) or fall (-1). It is projected after the
            fit, then the other effects are renewed. These columns take part in no ranked pair.
        left_out: columns without a curve.
        coarse: for each column (bins,) the merged bin of each bin in pairs; by default of about equally many rows.
        steps: largest number of Newton steps of the main effects before pairs are chosen.
        rounds: rounds over all pairs and the main effects.
        updates: updates of the scales in each step.
        pair_bins: largest number of bins of a number within a pair.
        rank_bins: number of bins when pairs are ranked.
        pair_rank: largest number of basis functions of a pair.
    """

    pairs: int | Sequence[tuple[int, int]] | None = None
    significance: float = 1.0
    monotone: Mapping[int, int] = field(default_factory=dict)
    left_out: Sequence[int] = ()
    coarse: Sequence[Tensor] | None = None
    steps: int = 12
    rounds: int = 6
    updates: int = 2
    pair_bins: int = 64
    rank_bins: int = 16
    pair_rank: int = 160


@dataclass
class AdditiveTables:
    """The tables of an additive model. C' is 1 for regression and two classes, else the number of classes.

    Attributes:
        intercept: (C',).
        mains: for each column (bins, C'), of mean 0 over the rows.
        errors: for each column (bins, C') posterior standard errors of the main effects, given the pairs.
        pairs: numbers of the two columns of each pair.
        tables: for each pair (coarse bins, coarse bins, C'), of mean 0 over the rows along each row and column.
        pair_errors: for each pair (coarse bins, coarse bins, C') the same errors, given all other effects.
        coarse: for each column (bins,) the coarse bin of each bin, which the tables of pairs use.
        noise: variance of the residual (regression), else 1.
        freedom: (C',) effective degrees of freedom.
        ranking: all pairs (i, j, gain), the strongest first; empty if the pairs were given.
    """

    intercept: Tensor
    mains: list[Tensor]
    errors: list[Tensor]
    pairs: list[tuple[int, int]]
    tables: list[Tensor]
    pair_errors: list[Tensor]
    coarse: list[Tensor]
    noise: float
    freedom: list[float]
    ranking: list[tuple[int, int, float]]

    def scores(self, bins: Tensor) -> Tensor:
        """Scores (N, C') of rows of bins (N, K)."""
        bins = bins.long()
        total = self.intercept.expand(len(bins), -1).clone()
        for k, main in enumerate(self.mains):
            total += main[bins[:, k]]
        for (i, j), table in zip(self.pairs, self.tables, strict=True):
            total += table[self.coarse[i][bins[:, i]], self.coarse[j][bins[:, j]]]
        return total


def fit_additive(
    bins: Tensor,
    columns: Sequence[BinColumn],
    target: Tensor,
    task: Task,
    *,
    classes: int = 2,
    weight: Tensor | None = None,
    offset: Tensor | None = None,
    options: FitOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> AdditiveTables:
    """Fits an additive model.

    Args:
        bins: (N, K) integers; bins[:, k] < columns[k].bins.
        columns: what each column is.
        target: (N,) values, or class numbers.
        task: regression, binary or multiclass.
        classes: number of classes of a multiclass task.
        weight: (N,) >= 0; by default 1.
        offset: (N, C') to be added to the scores of the model, in the unit of the target; by default 0.
        options: settings.
        progress: called with a line of text after each step.

    Raises:
        ValueError: shapes that do not fit, or bins out of range.
    """
    options = options or FitOptions()
    tell = progress or (lambda text: None)
    _check(bins, columns, target)
    _check_monotone(options, columns, task)
    rows = Rows(bins, list(columns), target, task, classes, weight, offset)
    mains = MainEffects(rows)
    for k in options.left_out:
        mains.leave_out(k)
    for step in range(options.steps):
        moved = max(mains.step(output, options.updates) for output in range(rows.outputs))
        rows.renew_noise(mains.freedom(0))
        tell(f"step {step + 1}: loss {rows.loss():.5f}")
        if moved < STILL:
            break
    wanted, ranking = options.pairs, []
    if wanted is None or isinstance(wanted, int):
        ranking = ranked(rows, [mains.curve(k) for k in range(len(columns))], options.rank_bins)
        free = [(i, j) for i, j, _ in ranking if not {i, j} & set(options.monotone)]
        wanted = free[: 3 * len(columns) if wanted is None else wanted]
    pairs = PairEffects(rows, wanted, options.pair_bins, options.pair_rank, options.coarse)
    if ranking:
        pairs.screen(options.significance)
    for number in range(options.rounds if pairs.pairs else 0):
        for output in range(rows.outputs):
            pairs.step(output, options.updates)
            mains.step(output, options.updates)
        rows.renew_noise(mains.freedom(0) + pairs.freedom(0))
        tell(f"round {number + 1}: loss {rows.loss():.5f}")
    _make_monotone(rows, mains, options)
    return _pure(rows, mains, pairs, ranking)


def _check(bins: Tensor, columns: Sequence[BinColumn], target: Tensor) -> None:
    if bins.ndim != 2 or bins.shape[1] != len(columns) or target.shape != bins.shape[:1]:
        raise ValueError(
            f"bins must be (N, {len(columns)}), one column for each description, and target (N,); got "
            f"{tuple(bins.shape)} and {tuple(target.shape)}."
        )
    highest, lowest = bins.amax(0).tolist(), bins.amin(0).tolist()
    for k, column in enumerate(columns):
        if highest[k] >= column.bins or lowest[k] < 0:
            raise ValueError(f"column {k} has {column.bins} bins; got bins {lowest[k]} to {highest[k]}.")


def _check_monotone(options: FitOptions, columns: Sequence[BinColumn], task: Task) -> None:
    for k, sign in options.monotone.items():
        if task == "multiclass" or not columns[k].ordered or sign not in (1, -1):
            raise ValueError(
                f"monotone needs a single column of scores, columns of numbers, and 1 or -1; got {sign} for column "
                f"{k} of a {task} task."
            )
    if options.monotone and not (options.pairs is None or isinstance(options.pairs, int)):
        both = [pair for pair in options.pairs if set(pair) & set(options.monotone)]
        if both:
            raise ValueError(f"a monotone column cannot be in a pair; got the pairs {both}. Leave them out.")


def _make_monotone(rows: Rows, mains: MainEffects, options: FitOptions) -> None:
    for k, sign in options.monotone.items():
        curve, n = mains.curve(k).clone(), rows.columns[k].intervals
        curve[:n, 0] = monotone(curve[:n, 0], rows.counts(k)[:n], sign > 0)
        mains.fix(k, curve)
    for _ in range(3 if options.monotone else 0):
        mains.step(0, 1)


def _pure(rows: Rows, mains: MainEffects, pairs: PairEffects, ranking: list[tuple[int, int, float]]) -> AdditiveTables:
    """Purifies the tables and converts them to the units of the target."""
    numbers = range(len(rows.columns))
    curves = [mains.curve(k) for k in numbers]
    intercept = torch.stack([theta[0] for theta in mains.coefficients])
    tables: list[Tensor] = []
    for pair in pairs.pairs:
        pure, *sides = purify_pair(pairs.table(pair), pairs.density(pair))
        tables.append(pure * rows.unit)
        for k, side in zip(pair.columns, sides, strict=True):
            curves[k] = curves[k] + side[pairs.coarse[k]]
    for k in numbers:
        curves[k], mean = centre(curves[k], rows.counts(k))
        intercept = intercept + mean
    return AdditiveTables(
        intercept=intercept * rows.unit + rows.shift,
        mains=[curve * rows.unit for curve in curves],
        errors=[mains.errors(k) * rows.unit for k in numbers],
        pairs=[pair.columns for pair in pairs.pairs],
        tables=tables,
        pair_errors=[pairs.errors(pair) * rows.unit for pair in pairs.pairs],
        coarse=pairs.coarse,
        noise=rows.noise * rows.unit**2,
        freedom=[mains.freedom(output) + pairs.freedom(output) for output in range(rows.outputs)],
        ranking=ranking,
    )
