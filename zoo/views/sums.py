"""The sum that an explanation shows: rounded terms that still add up."""

from collections.abc import Iterable
from math import floor, isfinite, log10
from typing import NamedTuple

from zoo.core.explanation import Explanation, Term

FACTORS = ("weight", "group logit")  # with the activation, the factors of a group's contribution


class Sum(NamedTuple):
    """bias + shown terms + rest = score, rounded to the same decimals so that the printed numbers add up exactly.

    The rest is what the `others`, the units not shown, contribute; it also takes up the rounding of all terms.
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
        top: how many terms to show.
        digits: decimals to round to; None for as many as the largest term needs, see `decimals`.

    Raises:
        ValueError: the explanation has several rows, or its score is no sum of its units.
    """
    if len(explanation) != 1:
        raise ValueError(f"one explanation has one sum; got {len(explanation)} rows. Index them: explanation[i].")
    if explanation.bias is None:
        raise ValueError("this model's score is no sum of its units, so there is no sum to show.")
    terms = explanation.top(top)[0]
    values = [explanation.bias.item(), explanation.score.item(), *(term.contribution or 0.0 for term in terms)]
    digits = decimals(values) if digits is None else digits
    bias, score, *shown = (round(value, digits) + 0.0 for value in values)  # + 0.0 turns -0.0 into 0.0
    rest = round(score - bias - sum(shown), digits) + 0.0
    return Sum(terms, bias, shown, rest, len(explanation.units) - len(terms), score, digits)


def decimals(values: Iterable[float]) -> int:
    """How many decimals to print: three, or, where all values are small, enough for three digits of the largest."""
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(max(2 - floor(log10(largest)), 3), 12)


def fixed(value: float, digits: int, sign: str = "") -> str:
    """The rounded value, without a minus before a zero; `sign` "+" shows the plus of others."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def weight_of(term: Term, explanation: Explanation) -> float | None:
    """What the activation was multiplied with, where the contribution is such a product.

    Of a concept the scores "absent" and "present" say more, and a concept embedding's contribution is no product.
    """
    if term.contribution is None or not term.activation or "absent" in explanation.details:
        return None
    return term.contribution / term.activation


def factors_of(term: Term, explanation: Explanation) -> dict[str, float] | None:
    """The contribution of a group as a product, name by name, where the explanation tells its factors."""
    if term.contribution is None or not set(FACTORS) <= explanation.details.keys():
        return None
    known = {name: explanation.details[name][0, term.index].item() for name in FACTORS}
    return {"concentration": term.activation, **known}


class Known(NamedTuple):
    """What an explanation tells of one unit beside its activation and contribution; None where it does not."""

    probability: float | None
    absent: float | None
    present: float | None
    others: dict[str, float]


def known_of(term: Term, explanation: Explanation) -> Known:
    """The details of a unit in one explanation (a batch of one) that are single numbers."""
    values = {name: v[0, term.index].item() for name, v in explanation.details.items() if v.ndim == 2}
    values.pop("turn", None)  # drawn as a path
    if set(FACTORS) <= values.keys():
        values = {name: value for name, value in values.items() if name not in FACTORS}
    probability, absent, present = (values.pop(name, None) for name in ("probability", "absent", "present"))
    return Known(probability, absent, present, values)
