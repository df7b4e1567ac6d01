"""Checks of arguments: each raises a ValueError that says what was expected and what was got.

Values are given by name, so that the message can use it: `check_at_least(1, width=width, samples=samples)`.
"""

from collections.abc import Iterable

from zoo.utils.errors import did_you_mean


def check_choice(known: Iterable[str], /, **values: str) -> None:
    """Refuses a value that is not one of the known names.

    Raises:
        ValueError: "bottleneck must be one of sigmoid, logit, hard; got 'hart'. Did you mean 'hard'?"
    """
    names = list(known)
    for name, value in values.items():
        if value not in names:
            hint = did_you_mean(value, names)
            near = f" D{hint[1:]}" if hint.startswith("did") else ""
            raise ValueError(f"{name} must be one of {', '.join(names)}; got '{value}'.{near}")


def check_at_least(minimum: float, /, **values: float) -> None:
    """Refuses a number below the minimum, or NaN.

    Raises:
        ValueError: "width must be at least 1; got 0."
    """
    for name, value in values.items():
        if not value >= minimum:
            raise ValueError(f"{name} must be at least {minimum}; got {value}.")


def check_above(bound: float, /, **values: float) -> None:
    """Refuses a number that is not above the bound, or NaN.

    Raises:
        ValueError: "temperature must be above 0; got 0.0."
    """
    for name, value in values.items():
        if not value > bound:
            raise ValueError(f"{name} must be above {bound}; got {value}.")


def check_between(low: float, high: float, /, **values: float) -> None:
    """Refuses a number outside of the closed interval [low, high], or NaN.

    Raises:
        ValueError: "share must be in [0, 1]; got 1.5."
    """
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be in [{low}, {high}]; got {value}.")
