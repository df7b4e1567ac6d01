"""How many groups a Sum-of-Parts makes of an input's elements, and how large they are."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.utils.checks import check_choice

ANCHORS = ("stride", "all", "learned")


@dataclass(frozen=True)
class Grouping:
    """Number and size of the groups of a Sum-of-Parts."""

    groups: int = 20
    """M, the number of groups."""
    size: int | float = 0.2
    """Elements of a group: a whole number, or a share in (0, 1] of the elements that the input has."""
    heads: int = 1
    """Attention heads of the generator, each of which gives a candidate group for every anchor."""
    anchors: Literal["stride", "all", "learned"] = "stride"
    """Where groups come from: candidates at equal distances (as published), all candidates, or learned queries."""

    def check(self, elements: int, made: "Grouping") -> None:
        """Refuses impossible numbers.

        Args:
            elements: L, elements of the input.
            made: what the model was built with, which limits heads and learned queries.

        Raises:
            ValueError: an unknown choice, an impossible size, more heads than the model has, or more groups than there
                are candidates.
        """
        check_choice(ANCHORS, anchors=self.anchors)
        group_size(self.size, elements)
        if not 1 <= self.heads <= made.heads:
            raise ValueError(f"heads must be 1 to {made.heads}, as the model has; got {self.heads}.")
        learned = self.anchors == "learned"
        candidates = made.groups if learned else self.heads * elements
        of = "learned queries" if learned else f"candidates, {self.heads} heads x {elements} elements"
        if not 1 <= self.groups <= candidates:
            raise ValueError(f"groups must be 1 to {candidates}, the number of {of}; got {self.groups}.")
        if self.anchors == "all" and self.groups != candidates:
            raise ValueError(f"anchors='all' makes a group of all {candidates} {of}; got groups={self.groups}.")

    def largest(self, elements: int, growth: float = 0.0) -> int:
        """Elements of a group in an input that has all L elements.

        Args:
            elements: L.
            growth: in [0, 1]; 0 gives the size of a group, 1 all elements.
        """
        least = group_size(self.size, elements)
        return least + round(growth * (elements - least))

    def sizes(self, x: Tensor, elements: int, present: Tensor | None, growth: float = 0.0) -> Tensor:
        """Elements of a group in each input (B,), at least one.

        Args:
            x: inputs (B, *shape).
            elements: L.
            present: (B, L) bool, the elements that each input has; None for all.
            growth: see `largest`.
        """
        largest = self.largest(elements, growth)
        if present is None:
            return torch.full((x.shape[0],), largest, device=x.device)
        there = present.sum(1)
        if isinstance(self.size, int):
            return there.clamp_max(largest)
        share = self.size + growth * (1 - self.size)
        return torch.minimum((share * there).floor().long().clamp_min(1), there)


def group_size(size: float, elements: int) -> int:
    """Elements of a group: `size` itself if it is a whole number, else that share of all elements, rounded down.

    Raises:
        ValueError: no elements, or more than there are.
    """
    wanted = size if isinstance(size, int) else math.floor(size * elements + 1e-9)
    if isinstance(size, bool) or not 1 <= wanted <= elements:
        raise ValueError(
            f"size must give a group 1 to {elements} of the input's {elements} elements, as a whole number or as a "
            f"share in (0, 1]; got {size}, which is {wanted}."
        )
    return wanted
