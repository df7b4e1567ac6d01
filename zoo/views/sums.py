"""The sum that an explanation shows: rounded terms that add up exactly."""

from collections.abc import Iterable
from math import floor, isfinite, log10
from typing import NamedTuple

from zoo.core.explanation import Explanation, Term

FACTORS: dict[
    tuple[str, ...], str
] = {  # names of details that are the factors of a contribution -> that of the activation, if it is one too
    ("weight", "group logit"): "concentration",
    ("attention", "vote"): "",
}


class Sum(NamedTuple):
    """bias + shown terms + rest = relative score, rounded to the same decimals so that the printed numbers add up.

    The rest is the contribution of the `others`, the units not shown, plus the rounding error of all terms.
    """

    terms: list[Term]
    bias: float
    shown: list[float]
    rest: float
    others: int
    score: float
    digits: int


def printed_sum(explanation: Explanation, top: int, digits: int | None = None) -> Sum:
    """The sum of one explanation (a batch of one) with its `top` largest terms shown.

    Args:
        explanation: of one input.
        top: number of terms to show.
        digits: decimals to round to; by default as many as the largest term needs, see `decimals`.

    Raises:
        ValueError: the explanation has several rows, or the model is not additive.
    """
    if len(explanation) != 1:
        raise ValueError(f"expected an explanation of one row; got {len(explanation)} rows. Index it: explanation[i].")
    if explanation.bias is None:
        raise ValueError("this model is not additive, so there is no sum to show.")
    terms = explanation.top(top)[0]
    values = [explanation.bias.item(), explanation.relative_score.item(), *(term.contribution or 0.0 for term in terms)]
    digits = decimals(values) if digits is None else digits
    bias, score, *shown = (round(value, digits) + 0.0 for value in values)  # + 0.0 turns -0.0 into 0.0
    rest = round(score - bias - sum(shown), digits) + 0.0
    return Sum(terms, bias, shown, rest, len(explanation.units) - len(terms), score, digits)


def decimals(values: Iterable[float]) -> int:
    """The number of decimals to print: three, or more if needed for three digits of the largest value."""
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(max(2 - floor(log10(largest)), 3), 12)


def fixed(value: float, digits: int, sign: str = "") -> str:
    """The rounded value, without a minus sign for zero; `sign` "+" adds a plus sign to positive values."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def number(value: float, digits: int) -> str:
    """A number with a typographic minus sign."""
    return fixed(value, digits).replace("-", "\u2212")


def signed(value: float, digits: int) -> str:
    """The same with a plus sign for positive numbers."""
    return fixed(value, digits, "+").replace("-", "\u2212")


def weight_of(term: Term, explanation: Explanation) -> float | None:
    """The factor between activation and contribution; None if the contribution is not a product.

    None for concepts, whose scores "absent" and "present" are shown instead.
    """
    if term.contribution is None or not term.activation or "absent" in explanation.details:
        return None
    return term.contribution / term.activation


def factors_of(term: Term, explanation: Explanation) -> dict[str, float] | None:
    """The factors of a contribution by name; None if the explanation does not contain them.

    They are those of the target's own score.
    """
    factors = _factors(explanation)
    if term.contribution is None or explanation.reference != "zero" or not factors:
        return None
    known = {name: explanation.details[name][0, term.index].item() for name in factors}
    first = FACTORS[factors]
    return {first: term.activation, **known} if first else known


def _factors(explanation: Explanation) -> tuple[str, ...]:
    return next((names for names in FACTORS if set(names) <= explanation.details.keys()), ())


class Known(NamedTuple):
    """The details of one unit beside its activation and contribution; None if unknown."""

    probability: float | None
    absent: float | None
    present: float | None
    others: dict[str, float]


def known_of(term: Term, explanation: Explanation) -> Known:
    """The details of a unit in one explanation (a batch of one) that are single numbers."""
    values = {name: v[0, term.index].item() for name, v in explanation.details.items() if v.ndim == 2}
    values.pop("turn", None)  # drawn as a path
    values = {name: value for name, value in values.items() if name not in _factors(explanation)}
    suffix = "" if explanation.reference == "zero" else f", {explanation.reference}"
    names = ("probability", f"absent{suffix}", f"present{suffix}")
    probability, absent, present = (values.get(name) for name in names)
    values = {k: v for k, v in values.items() if k.split(",")[0] not in ("probability", "absent", "present")}
    return Known(probability, absent, present, values)
