"""The sum that an explanation shows: rounded terms that still add up."""

from typing import NamedTuple

from zoo.explanation import Explanation, Term


class Sum(NamedTuple):
    """bias + shown terms + rest = score, rounded to the same decimals so that the printed numbers add up exactly.

    The rest is what the units not shown contribute; it also takes up the rounding of the others.
    """

    terms: list[Term]
    bias: float
    shown: list[float]
    rest: float
    others: int
    score: float


def printed_sum(explanation: Explanation, top: int, digits: int = 3) -> Sum:
    """The sum of one explanation (a batch of one) with its `top` largest terms shown.

    Raises:
        ValueError: the explanation has several rows, or its score is no sum of its units.
    """
    if len(explanation) != 1:
        raise ValueError(f"one explanation has one sum; got {len(explanation)} rows. Index them: explanation[i].")
    if explanation.bias is None:
        raise ValueError("this model's score is no sum of its units, so there is no sum to show.")
    terms = explanation.top(top)[0]
    # + 0.0 turns -0.0 into 0.0, so that no minus is printed before a zero
    shown = [round(term.contribution or 0.0, digits) + 0.0 for term in terms]
    bias, score = (round(value.item(), digits) + 0.0 for value in (explanation.bias, explanation.score))
    rest = round(score - bias - sum(shown), digits) + 0.0
    return Sum(terms, bias, shown, rest, len(explanation.units) - len(terms), score)


def weight_of(term: Term) -> float | None:
    """What the activation was multiplied with, where the contribution is such a product."""
    return term.contribution / term.activation if term.contribution is not None and term.activation else None
