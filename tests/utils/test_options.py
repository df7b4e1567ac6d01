"""Groups of constructor arguments as dataclasses and as plain mappings."""

from dataclasses import dataclass

import pytest

from zoo.utils.options import fold_options, parse_options


@dataclass(frozen=True)
class Size:
    width: int = 2
    height: int = 3


def test_options_are_an_object_a_mapping_or_left_out() -> None:
    assert parse_options(Size, Size(4), "size") == Size(4, 3)
    assert parse_options(Size, {"height": 5}, "size") == Size(2, 5)
    assert parse_options(Size, None, "size") == parse_options(Size, {}, "size") == Size()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 1}, "size has no option 'widht'; did you mean 'width'"),
        (3, "size must be a mapping of options; got 3"),
    ],
)
def test_options_that_are_not_known(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_options(Size, given, "size")


def test_old_arguments_are_folded() -> None:
    places = {"width": ("size", "width"), "tall": ("size", "height")}
    assert fold_options({"width": 1, "tall": 2, "depth": 3}, places) == {"depth": 3, "size": {"width": 1, "height": 2}}
    assert fold_options({"size": {"width": 1}, "tall": 2}, places) == {"size": {"width": 1, "height": 2}}
    assert fold_options({"size": None}, places) == {"size": None}
