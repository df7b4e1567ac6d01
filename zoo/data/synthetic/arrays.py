"""Generated tables and series whose evidence is known."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.synthetic.benchmark import EvidenceItems


class EvidenceRows(Rows, EvidenceItems):
    """Rows with known evidence, and the values that replace a removed factor.

    Args:
        inputs, targets, names: see `Rows`.
        regions: (N, R, *S) in {0, 1}: the elements of each input that belong to each factor.
        factors: names of the R factors.
        replacement: (N, *S) inputs that carry no information about the targets.
        changed: (N, R, *S) in {0, 1}: the elements that are replaced with a factor; by default its region.
    """

    regions: Tensor

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str],
        regions: Tensor,
        factors: Sequence[str],
        replacement: Tensor,
        changed: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, targets, names, regions=regions)
        self.factors, self.replacement = list(factors), replacement
        self.changed = regions if changed is None else changed

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        removed = self.changed[rows][:, [self.factors.index(name) for name in factors]].any(1)
        return torch.where(removed, self.replacement[rows], self.inputs[rows])


def balanced(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """(count,) classes in random order, the same number of each, up to one."""
    return (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
