"""Units that are built again only after one of the tensors that describe them changed."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from zoo.core.evidence import Unit


class UnitCache:
    """The units that were built last, with the state of the tensors that they were built from.

    A copy of the cache is empty, because a copied model has tensors of its own.
    """

    def __init__(self) -> None:
        self._state: tuple[Any, ...] | None = None
        self._units: tuple[Unit, ...] = ()

    def get(self, tensors: Iterable[Tensor], build: Callable[[], Iterable[Unit]]) -> tuple[Unit, ...]:
        """The units; `build` runs only if one of `tensors` was replaced or changed in place since the last call."""
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        if state != self._state:
            self._units, self._state = tuple(build()), state
        return self._units

    def __reduce__(self) -> tuple[type["UnitCache"], tuple[()]]:
        return UnitCache, ()
