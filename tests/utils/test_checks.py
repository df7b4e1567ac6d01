"""Checks of arguments: bounds are inclusive or not as documented, NaN never passes, messages name the argument."""

import math
from collections.abc import Callable

import pytest

from zoo.utils.checks import check_above, check_at_least, check_between, check_choice


def test_accepts_what_is_in_range() -> None:
    check_choice(("sum", "mean"), pooling="sum", reduce="mean")
    check_at_least(1, width=1, samples=20)
    check_above(0, temperature=1e-9)
    check_between(0, 1, low=0, high=1.0, share=0.5)


@pytest.mark.parametrize(
    ("check", "bounds", "values", "message"),
    [
        (
            check_choice,
            (("sum", "mean"),),
            {"a": "sum", "pooling": "max"},
            "pooling must be one of sum, mean; got 'max'.",
        ),
        (
            check_choice,
            (("sum", "mean"),),
            {"pooling": "maen"},
            "pooling must be one of sum, mean; got 'maen'. Did you mean 'mean'?",
        ),
        (check_at_least, (1,), {"width": 3, "samples": 0}, "samples must be at least 1; got 0."),
        (check_at_least, (1,), {"width": math.nan}, "width must be at least 1; got nan."),
        (check_above, (0,), {"temperature": 0.0}, "temperature must be above 0; got 0.0."),
        (check_above, (0,), {"temperature": math.nan}, "temperature must be above 0; got nan."),
        (check_between, (0, 1), {"share": 1.5}, "share must be in [0, 1]; got 1.5."),
        (check_between, (0, 1), {"share": -1}, "share must be in [0, 1]; got -1."),
        (check_between, (0, 1), {"share": math.nan}, "share must be in [0, 1]; got nan."),
    ],
)
def test_refuses_by_name(check: Callable[..., None], bounds: tuple, values: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check(*bounds, **values)
    assert str(caught.value) == message
