"""Parameters of constructors are followed through **kwargs."""

from zoo.data import CUB, StrokeDigits, SwitchingPanels
from zoo.utils.signatures import init_parameters


class Base:
    def __init__(self, size: int = 1, seed: int = 0) -> None: ...


class Middle(Base):
    def __init__(self, seed: int = 5, **rest: int) -> None: ...


class Closed(Middle):
    def __init__(self, name: str) -> None: ...


class Inherits(Middle): ...


def test_parameters_of_parents_follow_where_kwargs_pass_them_on() -> None:
    assert list(init_parameters(Base)) == ["size", "seed"]
    assert list(init_parameters(Middle)) == list(init_parameters(Inherits)) == ["seed", "size"]
    assert init_parameters(Middle)["seed"].default == 5
    assert list(init_parameters(Closed)) == ["name"]
    assert init_parameters(object) == {}


def test_data_modules() -> None:
    assert {"root", "box_crop", "batch_size", "seed", "views"} <= set(init_parameters(CUB))
    assert list(init_parameters(SwitchingPanels)) == ["regions", *init_parameters(StrokeDigits)]
    assert "augment" not in init_parameters(StrokeDigits)
