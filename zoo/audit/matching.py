"""Which units of two models are the same: by where they come from, by name, or by when and where they fire."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment  # SciPy comes with scikit-learn
from torch import Tensor

from zoo.audit.observations import Observations
from zoo.core.evidence import Unit

PLACE = ("image", "index", "cell", "box")  # keys of a source that say which part of the training data a unit is
NUMBERED = {"prototype", "concept", "group", "neuron", "head", "attention channel", "exemplar", "training image"}
NUMBER = re.compile(r"[ #]\d+$")
FEWEST = 5  # inputs from which activations are correlated
LARGEST = 2**22  # pairs of units whose supports are compared, times places


@dataclass(frozen=True)
class Match:
    """A unit of both models, or of one.

    Attributes:
        first: its column in the first model, or None.
        second: its column in the second model, or None.
        how: "source", "name", "number" (the same number, too few inputs to compare), "similarity", or "" for a unit
            of one model.
        similarity: of activations and supports, in [-1, 1]; 1 for the others.
    """

    first: int | None
    second: int | None
    how: str
    similarity: float


def match_units(first: Observations, second: Observations, least: float = 0.5) -> list[Match]:
    """Matches the units of two models, each to at most one of the same kind and class.

    Units are matched by the part of the training data that they come from; else by name, if the name is more than a
    number; else so that the mean of the correlation of activations and the overlap of supports is largest in sum
    (Hungarian method).

    Args:
        first: what one model says about some inputs.
        second: what the other says about the same inputs.
        least: similarity below which two units are not the same.

    Returns:
        in the order of the first model's units, then those that only the second model has.
    """
    found = _by_source(first, second)
    found += _by_name(first, second, found)
    found += _by_similarity(first, second, found, least)
    left, right = ({getattr(match, side) for match in found} for side in ("first", "second"))
    found += [Match(k, None, "", 0.0) for k in range(len(first.units)) if k not in left]
    found.sort(key=lambda match: match.first or 0)
    return found + [Match(None, k, "", 0.0) for k in range(len(second.units)) if k not in right]


def _by_source(first: Observations, second: Observations) -> list[Match]:
    """Units of the same part of the training data; of several the one of the same name, else the first."""
    places: dict[tuple[str, tuple[str, str]], list[int]] = {}
    for k, unit in enumerate(second.units):
        if (place := _place(unit)) is not None:
            places.setdefault((place, second.kind(k)), []).append(k)
    found: list[Match] = []
    candidates = [
        (k, unit, places.get((place, first.kind(k)), []))
        for k, unit in enumerate(first.units)
        if (place := _place(unit))
    ]
    for same_name in (True, False):
        done = {match.first for match in found}
        for k, unit, others in candidates:
            fits = [o for o in others if not same_name or second.units[o].name == unit.name]
            if k not in done and fits:
                found.append(Match(k, fits[0], "source", 1.0))
                others.remove(fits[0])
    return found


def _place(unit: Unit) -> str | None:
    known = {key: unit.source[key] for key in PLACE if key in unit.source}
    return json.dumps(known, default=str) if {"image", "index"} <= known.keys() else None


def _by_name(first: Observations, second: Observations, found: Iterable[Match]) -> list[Match]:
    """Units with the same name that says more than a number, and without a place in the training data."""
    taken, others = ({getattr(match, side) for match in found} for side in ("first", "second"))
    named = {(second.kind(k), u.name): k for k, u in enumerate(second.units) if k not in others and _is_named(u)}
    return [
        Match(k, named[first.kind(k), unit.name], "name", 1.0)
        for k, unit in enumerate(first.units)
        if k not in taken and _is_named(unit) and (first.kind(k), unit.name) in named
    ]


def _is_named(unit: Unit) -> bool:
    return _place(unit) is None and not (unit.kind in NUMBERED and NUMBER.search(unit.name))


def _by_similarity(first: Observations, second: Observations, found: Iterable[Match], least: float) -> list[Match]:
    rest = []
    for side, units in (("first", first.units), ("second", second.units)):
        taken = {getattr(match, side) for match in found}
        rest.append([k for k in range(len(units)) if k not in taken])
    left, right = rest
    if not left or not right:
        return []
    if len(first.activation) < FEWEST:
        return _by_number(first, second, left, right)
    parts = [_correlation(first.activation[:, left], second.activation[:, right])]
    if (shared := _overlap(first.support, left, second.support, right)) is not None:
        parts.append(shared)
    similarity = torch.stack(parts).nanmean(0).nan_to_num(-1.0)
    kinds = [[first.kind(k) == second.kind(o) for o in right] for k in left]
    similarity = torch.where(torch.tensor(kinds), similarity, -2.0).numpy().astype(np.float64)
    rows, columns = linear_sum_assignment(-similarity)
    return [
        Match(left[i], right[j], "similarity", float(similarity[i, j]))
        for i, j in zip(rows, columns, strict=True)
        if similarity[i, j] >= least
    ]


def _by_number(first: Observations, second: Observations, left: list[int], right: list[int]) -> list[Match]:
    named = {(second.kind(o), second.units[o].name): o for o in right if _place(second.units[o]) is None}
    pairs = [(k, named.get((first.kind(k), first.units[k].name))) for k in left if _place(first.units[k]) is None]
    return [Match(k, o, "number", 1.0) for k, o in pairs if o is not None]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """(K, L) correlations of the columns of (N, K) and (N, L); NaN for constant ones."""
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    return ((a.T @ b) / (a.norm(dim=0)[:, None] * b.norm(dim=0))).float()


def _overlap(a: Tensor | None, left: list[int], b: Tensor | None, right: list[int]) -> Tensor | None:
    """(K, L) overlap of some columns of supports (n, ., *S): the sum of minima over that of maxima.

    None if they cannot be compared: there are none, or of other grids, or there are too many.
    """
    if a is None or b is None or a.shape[2:] != b.shape[2:] or len(left) * len(right) * a[0, 0].numel() > LARGEST:
        return None
    least = torch.zeros(len(left), len(right))
    most = torch.zeros_like(least)
    for one, other in zip(a[:, left].flatten(2), b[:, right].flatten(2), strict=True):
        least += torch.minimum(one[:, None], other[None]).sum(2)
        most += torch.maximum(one[:, None], other[None]).sum(2)
    return least / most  # 0 / 0 is NaN: nowhere in both
