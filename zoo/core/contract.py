"""The contract checks itself: a model's first explanation is compared with what its methods promise.

A mistake in a model's own code is reported with the class, the method, what was got and what was expected, instead of a
wrong explanation or a shape error somewhere else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.reference import relative, runner_up
from zoo.utils.errors import ContractError


def check_contract(name: str, terms: Mapping[str, Any], units: Sequence[Unit], additive: bool) -> None:
    """Checks what a model returned for one batch.

    Args:
        name: of the model's class, for error messages.
        terms: see `SelfInterpretable.terms`.
        units: the model's vocabulary.
        additive: whether contributions add up to the score.

    Raises:
        ContractError: which method of the class returned what, and what was expected.
    """
    scores, activation = terms["scores"], terms["activation"]
    rows = scores.shape[0]
    if scores.ndim != 2:
        raise ContractError(f"{name}.readout() must return scores (B, C); got shape {tuple(scores.shape)}.")
    if activation.ndim != 2 or activation.shape[0] != rows:
        raise ContractError(
            f"{name}.evidence() must return activations (B, K) with B = {rows}; got shape {tuple(activation.shape)}."
        )
    _check_units(name, units, activation.shape[1])
    _check_support(name, terms["support"], activation)
    if additive:
        _check_sum(name, terms, activation)


def check_alternatives(name: str, terms: Mapping[str, Any]) -> None:
    """Checks that contributions relative to the other references add up to the relative scores.

    Args:
        name: of the model's class, for error messages.
        terms: see `SelfInterpretable.terms`, with the "alternatives".

    Raises:
        ContractError: those relative to the mean do not, or those to the runner-up.
    """
    scores, target = terms["scores"].double(), terms["target"]
    rival = runner_up(terms["scores"], target)
    size = terms["contributions"].abs().double().sum(1) + terms["bias"].abs().double()
    for reference, parts in terms["alternatives"].items():
        off = (relative(scores, target, reference, rival) - parts.double().sum(1)).abs()
        if bool((off > 1e-6 + 1e-5 * size.maximum(parts.abs().double().sum(1))).any()):
            method = "attribute_mean" if reference == "mean" else "attribute"
            raise ContractError(
                f"{name}.{method}() must split the score that {name}.readout() gives, for every class: relative to the "
                f"{reference}, bias + sum of contributions misses the score by {float(off.max()):.6g}."
            )


def check_removal(name: str, terms: Mapping[str, Any], left: Tensor, units: Sequence[Unit], removed: int) -> None:
    """Checks that removing a unit from the first row moves its score by the unit's contribution.

    Args:
        name: of the model's class, for error messages.
        terms: see `SelfInterpretable.terms`.
        left: scores (B, C) without the unit.
        units: the model's vocabulary.
        removed: number of the unit.

    Raises:
        ContractError: it moves by another amount.
    """
    target = terms["target"][0]
    score, contribution = terms["scores"][0, target].double(), terms["contributions"][0, removed].double()
    moved = score - left[0, target].double()
    if float((moved - contribution).abs()) > 1e-4 * (1 + float(score.abs() + terms["contributions"][0].abs().sum())):
        raise ContractError(
            f"{name}.ablate() must make the contribution of a unit 0: removing '{units[removed].name}' moves the score "
            f"by {moved:.6g}, but {name}.attribute() gives the contribution {contribution:.6g}. By default a removed "
            f"unit has the activation 0; if that still contributes, override `ablate`."
        )


def _check_units(name: str, units: Sequence[Unit], count: int) -> None:
    if len(units) != count:
        raise ContractError(
            f"{name}.units() returned {len(units)} units, but {name}.evidence() has {count} activations; there must be "
            "one unit for each column, in the same order."
        )
    repeated = [unit for unit, times in Counter(unit.name for unit in units).items() if times > 1]
    if repeated:
        raise ContractError(f"{name}.units() must give unique names; '{repeated[0]}' names several units.")
    if empty := [k for k, unit in enumerate(units) if not unit.name.strip()]:
        raise ContractError(f"{name}.units() must name every unit; the name of unit {empty[0]} is empty.")


def _check_support(name: str, support: Tensor | None, activation: Tensor) -> None:
    if support is None:
        return
    if support.shape[:2] != activation.shape:
        raise ContractError(
            f"{name}.evidence() must return a support that begins with (B, K) = {tuple(activation.shape)}; got shape "
            f"{tuple(support.shape)}."
        )
    low, high = float(support.min()), float(support.max())
    if not 0 <= low <= high <= 1:
        raise ContractError(f"{name}.evidence() must return supports in [0, 1]; got values from {low:g} to {high:g}.")


def _check_sum(name: str, terms: Mapping[str, Any], activation: Tensor) -> None:
    contributions, bias, scores = terms["contributions"], terms["bias"], terms["scores"]
    for what, found, expected in (
        ("contributions", contributions, tuple(activation.shape)),
        ("bias", bias, (activation.shape[0],)),
    ):
        if tuple(found.shape) != expected:
            raise ContractError(f"{name}.attribute() must return {what} of shape {expected}; got {tuple(found.shape)}.")
    score = scores.gather(1, terms["target"][:, None])[:, 0].double()
    total = bias.double() + contributions.double().sum(1)
    tolerance = 1e-6 + 1e-5 * (bias.abs().double() + contributions.abs().double().sum(1))
    off = (total - score).abs()
    if bool((off > tolerance).any()):
        row = int((off - tolerance).argmax())
        raise ContractError(
            f"{name}.attribute() must split the score that {name}.readout() gives: bias + sum of contributions is "
            f"{total[row]:.6g}, the score {score[row]:.6g} (row {row} of the batch). If the score is not a sum over "
            f"units, set `additive = False` in {name}."
        )
