"""Changes of curves that a person decides on, as plain data.

    - {unit: age, set: {from: 17, to: 25, value: 0.1}}   # a constant from 17 to 25
    - {unit: age, flatten: {from: 60}}                   # the mean over the training rows there
    - {unit: age, monotone: increasing}                  # the closest increasing curve
    - {unit: job, levels: {clerk: 0.0, missing: 0.2}}    # levels of a category and missing codes
    - {unit: race, remove: true}                         # 0 everywhere

Values are in the unit of the target. Of two classes they are log-odds of the second class, or of the one that `class`
names; of more classes `class` names the one whose score changes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.core.curves import Axis, Curve
from zoo.core.evidence import find_unit
from zoo.utils.errors import did_you_mean

DIRECTIONS = ("increasing", "decreasing")
LEAST = 1e-12  # weight of entries without training rows


def edited(curves: Sequence[Curve], edits: object, classes: Sequence[str]) -> tuple[Curve, ...]:
    """The curves after edits, applied in order.

    From `from` to `to`, both included and each without limit if it is left out, are all bins that have a value there;
    of curves through points, all points there; of ordered categories, ranks from 0. Curves are not centred again.
    Changed entries get the standard error 0, except those of monotone curves.

    Args:
        curves: of a model.
        edits: a list as in the docstring of this module.
        classes: of the domain.

    Raises:
        ValueError: an edit that is not of this form, or an unknown unit, class or level; the message names the edit.
    """
    if not isinstance(edits, Sequence) or isinstance(edits, str):
        raise ValueError(f"edits must be a list such as [{{unit: age, remove: true}}]; got {type(edits).__name__}.")
    changed, index = list(curves), {curve.unit: k for k, curve in enumerate(curves)}
    for number, edit in enumerate(edits):
        try:
            k, action = _parse(edit, index)
            changed[k] = _apply(changed[k], action, edit, classes)
        except ValueError as error:
            raise ValueError(f"edit {number + 1}: {error}") from None
    return tuple(changed)


def _parse(edit: Any, index: Mapping[str, int]) -> tuple[int, str]:
    """The number of the curve and the name of the action."""
    if not isinstance(edit, Mapping) or not isinstance(edit.get("unit"), str):
        raise ValueError(f"must be a mapping with the name of a 'unit'; got {edit!s:.80}.")
    actions = [key for key in edit if key not in ("unit", "class")]
    for key in actions:
        if key not in ACTIONS:
            raise ValueError(f"an edit has no key '{key}'; {did_you_mean(key, ['unit', 'class', *ACTIONS])}")
    if len(actions) != 1:
        raise ValueError(f"must have one of {', '.join(ACTIONS)}; got {', '.join(actions) or 'none'}.")
    return find_unit(edit["unit"], index), actions[0]


def _apply(curve: Curve, action: str, edit: Mapping[str, Any], classes: Sequence[str]) -> Curve:
    if action == "remove":
        if edit["remove"] is not True or "class" in edit:
            raise ValueError(f"unit '{curve.unit}': write remove: true, without a class; it removes the whole unit.")
        error = None if curve.error is None else torch.zeros_like(curve.error)
        return replace(curve, values=torch.zeros_like(curve.values), error=error)
    if len(curve.axes) != 1:
        raise ValueError(f"unit '{curve.unit}' is of {len(curve.axes)} columns; such units can only be removed.")
    column = _class_of(curve, edit, classes)
    values, chosen = ACTIONS[action](curve, shown_values(curve.values, column), edit[action])
    error = curve.error
    if error is not None and action != "monotone":
        error = error.masked_fill(chosen[:, None], 0.0)
    return replace(curve, values=_with_values(curve.values, values, column), error=error)


def shown_values(values: Tensor, column: int) -> Tensor:
    """What an edit reads and writes: values (..., C) of one class; of two classes, its log-odds."""
    if values.shape[-1] == 2:
        return values[..., column] - values[..., 1 - column]
    return values[..., column]


def _with_values(values: Tensor, shown: Tensor, column: int) -> Tensor:
    """Values (n, C) of which `shown_values` are `shown` (n,)."""
    changed = values.clone()
    if values.shape[1] == 2:
        mean = values.mean(1)
        changed[:, column], changed[:, 1 - column] = mean + shown / 2, mean - shown / 2
    else:
        changed[:, column] = shown
    return changed


def _class_of(curve: Curve, edit: Mapping[str, Any], classes: Sequence[str]) -> int:
    if "class" in edit:
        if (name := str(edit["class"])) not in classes:
            raise ValueError(f"no class '{name}'; {did_you_mean(name, classes)}")
        return list(classes).index(name)
    if len(classes) > 2:
        raise ValueError(f"unit '{curve.unit}' has a curve for each of {len(classes)} classes; add class: NAME.")
    return len(classes) - 1


def _set(curve: Curve, values: Tensor, given: Any) -> tuple[Tensor, Tensor]:
    value = _number(curve, "value", _mapping(curve, "set", given, ("from", "to", "value")).get("value"))
    chosen = _interval(curve, given)
    return values.masked_fill(chosen, value), chosen


def _flatten(curve: Curve, values: Tensor, given: Any) -> tuple[Tensor, Tensor]:
    chosen = _interval(curve, _mapping(curve, "flatten", given, ("from", "to")))
    weight = curve.density[chosen].clamp_min(LEAST).to(values)
    return values.masked_fill(chosen, float((weight * values[chosen]).sum() / weight.sum())), chosen


def _monotone(curve: Curve, values: Tensor, given: Any) -> tuple[Tensor, Tensor]:
    if given not in DIRECTIONS:
        raise ValueError(f"unit '{curve.unit}': monotone must be {' or '.join(DIRECTIONS)}; got {given!r}.")
    numbers, sign = _numbers(curve), 1 if given == "increasing" else -1
    weights = curve.density[:numbers].clamp_min(LEAST)
    changed = values.clone()
    changed[:numbers] = sign * isotonic(sign * values[:numbers], weights)
    return changed, changed != values


def _levels(curve: Curve, values: Tensor, given: Any) -> tuple[Tensor, Tensor]:
    axis, changed, chosen = curve.axes[0], values.clone(), torch.zeros_like(values, dtype=torch.bool)
    for level, value in _mapping(curve, "levels", given, axis.labels).items():
        place = axis.numbers + axis.labels.index(str(level))
        changed[place], chosen[place] = _number(curve, f"level '{level}'", value), True
    return changed, chosen


ACTIONS: dict[str, Callable[[Curve, Tensor, Any], tuple[Tensor, Tensor]]] = {
    "set": _set,
    "flatten": _flatten,
    "monotone": _monotone,
    "levels": _levels,
    "remove": lambda curve, values, given: (values, torch.zeros_like(values, dtype=torch.bool)),
}


def isotonic(values: Tensor, weights: Tensor) -> Tensor:
    """The increasing sequence (n,) of least weighted squared distance to values (n,), by pooling neighbours.

    Args:
        values: (n,).
        weights: (n,) above 0.
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        masses.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, mass, count = means.pop(), masses.pop(), counts.pop()
            means[-1] = (means[-1] * masses[-1] + mean * mass) / (masses[-1] + mass)
            masses[-1] += mass
            counts[-1] += count
    return torch.repeat_interleave(torch.tensor(means, dtype=values.dtype), torch.tensor(counts))


def _interval(curve: Curve, given: Mapping[str, Any]) -> Tensor:
    """(n,) bool, the entries of numbers from `from` to `to`."""
    axis, numbers = curve.axes[0], _numbers(curve)
    low, high = (_limit(curve, name, given.get(name)) for name in ("from", "to"))
    low, high = -torch.inf if low is None else low, torch.inf if high is None else high
    if low > high:
        raise ValueError(f"unit '{curve.unit}': from must not be above to; got {low:g} and {high:g}.")
    chosen = torch.zeros(len(axis), dtype=torch.bool)
    if axis.kind == "steps":
        places = torch.tensor(axis.places, dtype=torch.double)
        ends = torch.bucketize(torch.tensor([low, high], dtype=torch.double), places, right=True).tolist()
        chosen[ends[0] : ends[1] + 1] = True
    else:
        chosen[:numbers] = torch.tensor([low <= place <= high for place in axis.places])
        if not chosen.any():
            raise ValueError(f"unit '{curve.unit}' has no point from {low:g} to {high:g}; {_range(axis)}.")
    return chosen.to(curve.values.device)


def _range(axis: Axis) -> str:
    return f"its {len(axis.places)} points are from {axis.places[0]:g} to {axis.places[-1]:g}"


def _numbers(curve: Curve) -> int:
    if not (numbers := curve.axes[0].numbers):
        raise ValueError(f"unit '{curve.unit}' is a category; use levels: {{{curve.axes[0].labels[-1]}: 0.0}}.")
    return numbers


def _mapping(curve: Curve, action: str, given: Any, known: Sequence[str]) -> Mapping[Any, Any]:
    """Checks the keys of an action."""
    if not isinstance(given, Mapping) or (action == "levels" and not given):
        raise ValueError(f"unit '{curve.unit}': {action} needs a mapping; got {given!r:.80}.")
    for key in given:
        if str(key) not in known:
            what = "level" if action == "levels" else "key"
            quote = "; put names such as 'yes' and 'no' in quotes" if isinstance(key, bool) else ""
            raise ValueError(
                f"{action} of unit '{curve.unit}' has no {what} '{key}'; {did_you_mean(key, known)}{quote}"
            )
    return given


def _limit(curve: Curve, name: str, value: Any) -> float | None:
    return None if value is None else _number(curve, name, value)


def _number(curve: Curve, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"unit '{curve.unit}': {name} must be a finite number; got {value!r:.80}.")
    return float(value)
