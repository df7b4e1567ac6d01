"""Containers of modules whose elements have a known type."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import nn

Element = TypeVar("Element", bound=nn.Module)


class TypedModuleList(nn.ModuleList, Generic[Element]):
    """A `torch.nn.ModuleList` of modules of one type, which type checkers know."""

    if TYPE_CHECKING:

        def __init__(self, modules: Iterable[Element] | None = None) -> None: ...

        def __iter__(self) -> Iterator[Element]: ...

        @overload
        def __getitem__(self, idx: slice) -> "TypedModuleList[Element]": ...

        @overload
        def __getitem__(self, idx: int) -> Element: ...

        def __getitem__(self, idx: int | slice) -> "Element | TypedModuleList[Element]": ...
