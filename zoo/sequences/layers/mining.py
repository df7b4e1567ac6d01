"""Motifs of classes: windows of training series that their own class repeats and other classes do not.

Zhang et al.: "VSFormer", arXiv 2412.16515 (motifs of each class); Ye, Keogh: "Time Series Shapelets", KDD 2009, and
Hills et al., DMKD 2014 (windows of training series as features). The choice of the windows is ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequences.layers.distances import nearest_windows, similarity
from zoo.sequences.layers.windows import normalised
from zoo.utils.checks import check_above, check_at_least, check_choice

KINDS = ("shape", "value")
SPREAD = 0.01  # variance of a similarity below which it counts as none
MANY = 1000  # times as many places as draws, from which on a list of all places is not made
NUMBERS = 2**24  # of a distance profile that are held at a time


@dataclass(frozen=True)
class MiningOptions:
    """How motifs are found.

    Raises:
        ValueError: an unknown kind, or a number out of range.
    """

    per_class: int = 10
    """Q, motifs of each class."""
    lengths: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Of the windows: shares of the series, or steps."""
    kinds: tuple[str, ...] = ("shape", "value")
    """Distances: of the normalised windows, which forget level and scale, or of their values."""
    candidates: int = 600
    """Windows that are tried, of each length and kind, in equal parts from every class."""
    series: int = 300
    """Training series that are read, in equal parts of every class, the first ones."""
    copy: float = 0.1
    """Two windows are copies if one is the other's nearest window in its series, at a distance below this."""
    flat: float = 0.1
    """Windows are divided by their standard deviation, or by this if it is larger, so that noise is no shape; a motif
    of the kind "shape" has at least this deviation. In standard deviations of the training data."""

    def __post_init__(self) -> None:
        check_at_least(1, per_class=self.per_class, candidates=self.candidates, series=self.series)
        check_at_least(0, copy=self.copy)
        check_above(0, flat=self.flat)
        if not self.lengths or not self.kinds:
            raise ValueError(f"give one length and one kind or more; got {self.lengths} and {self.kinds}.")
        for kind in self.kinds:
            check_choice(KINDS, kinds=kind)


@dataclass
class Windows:
    """M windows of training series, and where each is found in all N series.

    Attributes:
        series: (M,) rows.
        start: (M,) first steps.
        length: (M,) steps.
        variable: (M,).
        shape: (M,) bool, the kind.
        distance: (M, N) of the nearest window of each series.
        place: (M, N) its start.
    """

    series: Tensor
    start: Tensor
    length: Tensor
    variable: Tensor
    shape: Tensor
    distance: Tensor
    place: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """All of the above, in this order."""
        return self.series, self.start, self.length, self.variable, self.shape, self.distance, self.place

    def __getitem__(self, chosen: Tensor) -> "Windows":
        series, start, length, variable, shape, distance, place = (tensor[chosen] for tensor in self.tensors())
        return Windows(series, start, length, variable, shape, distance, place)


def candidates(x: Tensor, target: Tensor, lengths: tuple[int, ...], options: MiningOptions) -> Windows:
    """Windows at random places, the same in every run, with their distances to all series.

    Args:
        x: (N, T, V) training series.
        target: (N,) their classes.
        lengths: in steps.
        options: see `MiningOptions`.
    """
    generator, found = torch.Generator().manual_seed(0), []
    for length in lengths:
        for kind in options.kinds:
            places = x.shape[1] - length + 1
            row, start, variable = _drawn(target.cpu(), places, x.shape[2], options.candidates, generator)
            for v in variable.unique().tolist():
                here = variable == v
                found.append(_measured(x, row[here], start[here], length, v, kind == "shape", options.flat))
    return _joined(found)


def _joined(parts: list[Windows]) -> Windows:
    return Windows(*(torch.cat(tensors) for tensors in zip(*(part.tensors() for part in parts), strict=True)))


def _drawn(
    target: Tensor, places: int, variables: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, starts and variables of `count` different windows, in equal parts from every class."""
    classes, each = target.unique(), places * variables
    drawn = []
    for c in classes:
        rows = (target == c).nonzero()[:, 0]
        number = _numbers(len(rows) * each, max(count // len(classes), 1), generator)
        drawn.append(torch.stack([rows[number // each], number % each // variables, number % variables]))
    row, start, variable = torch.cat(drawn, 1)
    return row, start, variable


def _numbers(total: int, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` different numbers below `total`, in random order."""
    if total <= MANY * count:
        return torch.randperm(total, generator=generator)[:count]
    some = torch.randint(total, (2 * count,), generator=generator).unique()  # hardly any is drawn twice
    return some[torch.randperm(len(some), generator=generator)[:count]]


def _measured(x: Tensor, row: Tensor, start: Tensor, length: int, variable: int, shape: bool, flat: float) -> Windows:
    """Windows of one length, variable and kind with their distances, computed a part at a time."""
    row, start = row.to(x.device), start.to(x.device)
    values = x[row[:, None], start[:, None] + torch.arange(length, device=x.device), variable]  # (M, L)
    if shape:  # what is flat has none
        curved = values.std(1, correction=0) >= flat
        row, start, values = row[curved], start[curved], values[curved]
    motifs = normalised(values, flat) if shape else values
    if not len(row):
        empty = torch.empty(0, len(x), device=x.device)
        return Windows(row, start, row, row, row.bool(), empty, empty.long())
    some = max(NUMBERS // (len(x) * x.shape[1]), 1)
    parts = [nearest_windows(part, x[..., variable], shape, flat) for part in motifs.split(some)]
    distance, place = (torch.cat(part) for part in zip(*parts, strict=True))
    steps, column = torch.full_like(row, length), torch.full_like(row, variable)
    return Windows(row, start, steps, column, torch.full_like(row, shape, dtype=torch.bool), distance, place)


def separation(found: Windows, target: Tensor, classes: int) -> Tensor:
    """How well each window tells its own class from each other one, (M, C); -inf for its own.

    (mean similarity to its class - mean similarity to the other) / root of the sum of both variances; its own series,
    which has no distance, does not count unless it is the only one of its class.
    """
    own, near = target[found.series], similarity(found.distance).double()  # (M,), (M, N)
    member = F.one_hot(target, classes).double()  # (N, C)
    rows = torch.arange(len(own), device=own.device)
    others = (member.sum(0)[own] > 1).double()  # whether its class has other series
    itself = near[rows, found.series] * others
    sums, squares, count = near @ member, near.square() @ member, member.sum(0).repeat(len(own), 1)
    for total, own_part in ((sums, itself), (squares, itself.square()), (count, others)):
        total[rows, own] -= own_part
    mean = sums / count
    variance = (squares / count - mean.square()).clamp_min(0)
    gap = mean[rows, own][:, None] - mean
    score = gap / (variance[rows, own][:, None] + variance + SPREAD).sqrt()
    return score.nan_to_num(-torch.inf).scatter(1, own[:, None], -torch.inf)  # a class without series


def chosen(found: Windows, target: Tensor, classes: int, options: MiningOptions) -> Tensor:
    """Numbers of the motifs (C·Q,), class by class, best first; of a class without series, of any.

    Each next motif of a class is the window that separates it best from the class from which the motifs so far separate
    it least, and is no copy of them while there are others.
    """
    score, own, picked = separation(found, target, classes), target[found.series], []
    for c in range(classes):
        mine = (own == c).nonzero()[:, 0]
        if len(mine) < options.per_class:
            raise ValueError(
                f"class {c} has {len(mine)} windows to choose {options.per_class} motifs from; lower per_class, raise "
                "candidates, or give the class more training series."
            )
        picked.append(mine[_greedy(found[mine], score[mine], options)])
    return torch.cat(picked)


def _greedy(windows: Windows, score: Tensor, options: MiningOptions) -> Tensor:
    free = torch.ones(len(score), dtype=torch.bool, device=score.device)
    left, best, picked = free.clone(), torch.full_like(score[0], -torch.inf), []
    best[score.isneginf().all(0)] = torch.inf  # its own class
    for _ in range(options.per_class):
        pool = free if bool(free.any()) else left
        worst = int(best.argmin())
        one = int(score[:, worst].masked_fill(~pool, -torch.inf).argmax())
        picked.append(one)
        best = torch.maximum(best, score[one])
        left[one] = False
        free &= left & ~_copies(windows, one, options.copy)
    return torch.tensor(picked, device=score.device)


def _copies(windows: Windows, one: int, distance: float) -> Tensor:
    """(M,) bool, the windows that are near copies of a chosen one: they lie where it was found."""
    place = windows.place[one, windows.series]  # of the match in the series of each window
    first = torch.maximum(place, windows.start)
    last = torch.minimum(place + windows.length[one], windows.start + windows.length)
    half = 2 * (last - first) > torch.minimum(windows.length[one], windows.length)
    near = windows.distance[one, windows.series] < distance
    return half & near & (windows.variable == windows.variable[one])
