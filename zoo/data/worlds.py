"""What generated tables and series share that know which of their elements matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.arrays import Rows
from zoo.data.module import DataModule
from zoo.hints import hint

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """Generated rows.

    Attributes:
        inputs: (N, *S).
        targets: (N,) classes.
        regions: (N, R, *S) in {0, 1}, which elements each factor lies in.
        spare: (N, *S) what stands in the inputs where a factor is removed: another draw of the same elements, or what
            was there before the factor was planted.
    """

    inputs: Tensor
    targets: Tensor
    regions: Tensor
    spare: Tensor


class World(DataModule):
    """The base of generated tables and series; a world defines `make_domain`, `factors`, `ceiling` and `draw`.

    Items have "regions" (R, *S) in {0, 1}: the elements that the label depends on, one region for each factor.

    Args:
        counts: rows to train on, to validate and to test.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the rows and the shuffles; every split is a random stream of its own.
    """

    factors: tuple[str, ...]

    def __init__(self, counts: Sequence[int], batch_size: int, workers: int, seed: int) -> None:
        super().__init__(batch_size, workers, seed)
        if min(counts) < 1:
            raise ValueError(f"every split needs at least one row; got {tuple(counts)} for train, val and test.")
        self.counts = dict(zip(SPLITS, counts, strict=True))

    @property
    def ceiling(self) -> float:
        """Accuracy of the best possible classifier."""
        raise NotImplementedError("a world knows its ceiling")

    def draw(self, count: int, generator: torch.Generator) -> Sample:
        """So many rows."""
        raise NotImplementedError("a world draws its rows")

    def drawn(self, split: str) -> Sample:
        """The rows of a split."""
        if split not in self._samples:
            generator = torch.Generator().manual_seed(len(SPLITS) * self.seed + SPLITS.index(split))
            self._samples[split] = self.draw(self.counts[split], generator)
        return self._samples[split]

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        return {}

    def items(self, split: str, training: bool) -> Rows:
        told = self.drawn(split)
        names = [f"{split} {i}" for i in range(len(told.targets))]
        return Rows(told.inputs, told.targets, names, regions=told.regions)

    def interventions(self, split: str, rows: Sequence[int], remove: Sequence[str]) -> Tensor:
        """(n, *S) inputs of a split drawn again without some factors, all else unchanged.

        Raises:
            ValueError: there is no such factor.
        """
        for name in remove:
            if name not in self.factors:
                raise ValueError(f"there is no factor '{name}' to remove; {hint(name, self.factors)}")
        told, index = self.drawn(split), torch.as_tensor(list(rows), dtype=torch.long)
        x = told.inputs[index].clone()
        for name in remove:
            inside = told.regions[index, self.factors.index(name)] > 0
            x = torch.where(inside, told.spare[index], x)
        return x
