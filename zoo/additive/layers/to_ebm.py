"""Models of the zoo as explainable boosting machines of InterpretML, with equal scores.

Nori, Jenkins, Koch, Caruana: "InterpretML: A Unified Framework for Machine Learning Interpretability", 2019,
arXiv 1909.09223.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.additive.ga2m import GA2M
from zoo.core.curves import Axis
from zoo.domain import Column
from zoo.domain.columns import OTHER, is_number

NOTHING = -1  # in place of an entry: a bin without effect


@dataclass(frozen=True)
class Side:
    """The bins of a column as an EBM has them: missing, then those of numbers or levels, then unknown.

    Attributes:
        entries: for each of these bins our entry, or `NOTHING`.
        cuts: of numbers, between bins; () of categories.
        names: of categories, of each bin; () of numbers.
    """

    entries: list[int]
    cuts: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


def to_ebm_json(model: GA2M) -> dict[str, Any]:
    """Converts a GA2M to the JSON format of InterpretML's EBMs (version 1.0), as plain data.

    An EBM that reads it, by `ExplainableBoostingClassifier()._from_jsonable(data)`, has the same scores: of two classes
    `decision_function` is their difference. It reads the columns of `domain.layout` in this order: the parts of a date
    are columns of numbers. Codes of missing values that are numbers become bins of their own, other codes levels. An
    EBM gives a score where the model refuses a cell: empty cells and unknown texts without an effect of their own count
    nothing. It holds the current curves without the original ones of an edited model.

    Raises:
        RuntimeError: the model is not fitted.
        ValueError: a column of numbers has several codes that are texts, or the model predicts several values.
    """
    model.require_ready()
    effects, columns, axes = model.effects, model.effects.bins.columns, model.effects.bins.axes()
    coarse = dict(zip((c for pair in effects.used for c in pair), _pair_axes(model), strict=True))
    sides = [side_of(column, axis) for column, axis in zip(columns, axes, strict=True)]
    small = {k: side_of(columns[k], axis) for k, axis in coarse.items()}
    features = [
        _feature(column, [side] if k not in small else [side, small[k]])
        for k, (column, side) in enumerate(zip(columns, sides, strict=True))
    ]
    names, terms = [column.name for column in columns], []
    for k, (side, n) in enumerate(zip(sides, effects.bins.sizes.tolist(), strict=True)):
        tables = (effects.mains[k, :n], effects.errors[k, :n].clamp_min(0), effects.density[k, :n, None])
        terms.append(_term([names[k]], *(_picked(table, [side]) for table in tables)))
    for p, (i, j) in enumerate(effects.used):
        place, both = (slice(None, len(coarse[i])), slice(None, len(coarse[j]))), [small[i], small[j]]
        table, error = effects.pairs[p][place], effects.pair_errors[p][place].float()
        density = effects.pair_density[p][place][..., None]
        terms.append(_term([names[i], names[j]], *(_picked(t, both) for t in (table, error, density))))
    ebm = {
        "outputs": [_output(model)],
        "intercept": model.intercept.tolist(),
        "bag_weights": [1.0],
        "best_iteration": [[0]],
        "implementation": "zoo",
        "features": features,
        "terms": terms,
    }
    return {"version": "1.0", "ebm": ebm}


def side_of(column: Column, axis: Axis) -> Side:
    """The bins of a column along an axis.

    Raises:
        ValueError: a column of numbers has several codes that are texts.
    """
    places = {code: axis.numbers + i for i, code in enumerate(column.missing)}
    empty = places.pop("", NOTHING)
    if column.kind == "category":
        levels = {level: 1 + i for i, level in enumerate(column.levels)}
        codes = {code: 1 + len(levels) + i for i, code in enumerate(column.missing)}
        known = levels | {code: entry for code, entry in codes.items() if code}
        return Side([codes.get("", NOTHING), *known.values(), levels.get(OTHER, 0)], names=tuple(known))
    if column.kind == "ordered":
        ranks = {level: bisect_right(axis.places, rank) for rank, level in enumerate(column.levels)}
        known = ranks | places
        return Side([empty, *known.values(), NOTHING], names=tuple(known))
    numbers = {float(code): entry for code, entry in places.items() if is_number(code)}
    texts = [code for code in places if not is_number(code)]
    if len(texts) > 1:
        raise ValueError(
            f"column '{column.name}' has the codes {', '.join(texts)}, which are texts; an EBM has one bin for all "
            "texts in a column of numbers."
        )
    around = {end for code in numbers for end in (code, math.nextafter(code, math.inf))}
    cuts = sorted({*axis.places, *around})
    inner = [numbers.get(low, bisect_right(axis.places, low)) for low in (-math.inf, *cuts)]
    return Side([empty, *inner, places[texts[0]] if texts else NOTHING], cuts=tuple(cuts))


def _pair_axes(model: GA2M) -> list[Axis]:
    """The axes of all pairs that are used, in order."""
    mains, used = len(model.effects.mains), len(model.effects.used)
    return [axis for curve in model.curves()[mains : mains + used] for axis in curve.axes]


def _feature(column: Column, sides: list[Side]) -> dict[str, Any]:
    about: dict[str, Any] = {"name": column.name, "num_unique_vals": len(sides[0].entries) - 2}
    if column.kind == "number":
        cuts = [list(side.cuts) for side in sides]
        low, high = (cuts[0][0], cuts[0][-1]) if cuts[0] else (0.0, 0.0)
        weights = [0.0] * (len(cuts[0]) + 3)
        return about | {"type": "continuous", "cuts": cuts, "min": low, "max": high, "histogram_weights": weights}
    kind = "nominal" if column.kind == "category" else "ordinal"
    return about | {"type": kind, "categories": [list(side.names) for side in sides]}


def _output(model: GA2M) -> dict[str, Any]:
    domain = model.domain
    if domain.task == "classification":
        link = "logit" if len(domain.classes) == 2 else "mlogit"
        return {"task": domain.task, "classes": list(domain.classes), "link": link, "link_param": "nan"}
    if len(domain.classes) > 1:
        raise ValueError(f"an EBM predicts one value; the model predicts {', '.join(domain.classes)}.")
    ends = [
        float(model.intercept[0]) + sum(float(end(curve.values)) for curve in model.curves())
        for end in (torch.amin, torch.amax)
    ]
    return {"task": domain.task, "min_target": ends[0], "max_target": ends[1], "link": "identity", "link_param": "nan"}


def _picked(table: Tensor, sides: list[Side]) -> Tensor:
    """A table (..., C') on the bins of an EBM: 0 in bins without effect; without the last axis if it is one number."""
    for axis, side in enumerate(sides):
        table = torch.cat([table, torch.zeros_like(table.narrow(axis, 0, 1))], axis)
        entries = torch.tensor(side.entries, device=table.device)
        table = table.index_select(axis, torch.where(entries < 0, table.shape[axis] - 1, entries))
    return table[..., 0] if table.shape[-1] == 1 else table


def _term(features: list[str], scores: Tensor, errors: Tensor, weights: Tensor) -> dict[str, Any]:
    return {
        "term_features": features,
        "scores": scores.tolist(),
        "standard_deviations": errors.tolist(),
        "bagged_scores": [scores.tolist()],
        "bin_weights": weights.tolist(),
    }
