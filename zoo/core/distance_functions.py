"""The functions of a model of graphs whose score is a sum over features and distances."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, eq=False)
class DistanceFunctions:
    """Functions f of features and ρ of distances, whose products are the terms of the score.

    Attributes:
        outputs: names of the C' numbers that are added up, such as classes.
        units: names of the K features.
        places: of each feature, V raw values; an indicator of a category has 0 and 1.
        values: of each feature, f (V, C') at these values.
        profile: ρ (D, C') of the distances 0 … D - 1.
    """

    outputs: tuple[str, ...]
    units: tuple[str, ...]
    places: tuple[tuple[float, ...], ...]
    values: tuple[Tensor, ...]
    profile: Tensor


@runtime_checkable
class HasDistanceFunctions(Protocol):
    """A model that consists of such functions (GNAN)."""

    def distance_functions(self) -> DistanceFunctions:
        """The functions, at values that the training data have."""
        ...
