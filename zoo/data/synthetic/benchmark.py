"""What worlds share: data that is generated, whose evidence is known and can be removed."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.base.arrays import Rows
from zoo.data.base.module import DataModule
from zoo.utils.errors import did_you_mean


class Evident(Rows):
    """Rows whose evidence is known, and what stands in the place of a factor that is removed.

    Args:
        inputs, targets, names: see `Rows`.
        regions: (N, R, *S) in {0, 1}, which elements of each input a factor is told by.
        spare: (N, *S) inputs in which no element says anything of the targets.
        places: (N, R, *S) in {0, 1}, which elements change with a factor; by default its region.
    """

    regions: Tensor

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str],
        regions: Tensor,
        spare: Tensor,
        places: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, targets, names, regions=regions)
        self.spare, self.places = spare, regions if places is None else places

    def without(self, rows: list[int], factors: list[int]) -> Tensor:
        """(n, *S) inputs with spare elements in the places of some factors."""
        gone = self.places[rows][:, factors].any(1)
        return torch.where(gone, self.spare[rows], self.inputs[rows])


class ArrayWorld(DataModule):
    """The base of generated tables and series whose evidence is known; a world defines `make_domain` and `draw`.

    Batches have "regions" (R, *S) in {0, 1}, the elements of each factor, for measurements; nothing learns from them.

    Attributes:
        factors: what the regions are of, in order.
        counts: how many items each split has.
    """

    factors: tuple[str, ...]
    counts: dict[str, int]

    @property
    def ceiling(self) -> float:
        """The highest accuracy that can be expected of any model."""
        raise NotImplementedError("a world defines ceiling")

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        """New items of a split; all chance comes from the generator."""
        raise NotImplementedError("a world defines draw()")

    def items(self, split: str, training: bool) -> Evident:
        return self._splits[split]

    def interventions(self, split: str, rows: Sequence[int] | Tensor, remove: Collection[str]) -> Tensor:
        """Inputs of some rows without what is named in `remove`; every other element is bit-equal.

        Args:
            split: "train", "val" or "test".
            rows: n numbers of items.
            remove: names out of `factors`; none gives the inputs themselves.

        Returns:
            (n, *S), as the items hold them.

        Raises:
            ValueError: an unknown split or factor, or no rows, or rows that do not exist.
        """
        wanted, names = asked_for(split, rows, remove, self.counts, self.factors)
        return self._splits[split].without(wanted, [self.factors.index(name) for name in names])

    @cached_property
    def _splits(self) -> dict[str, Evident]:
        """Every split is drawn from a random stream of its own."""
        streams = {split: torch.Generator().manual_seed(3 * self.seed + i) for i, split in enumerate(self.counts)}
        return {split: self.draw(split, count, streams[split]) for split, count in self.counts.items()}


def asked_for(
    split: str,
    rows: Sequence[int] | Tensor,
    remove: Collection[str],
    counts: Mapping[str, int],
    removable: Collection[str],
) -> tuple[list[int], tuple[str, ...]]:
    """The rows and the factors that an intervention names, which must exist.

    Args:
        split, rows, remove: of the intervention; a lone name may stand for a collection of one.
        counts: how many items each split has.
        removable: what can be removed.

    Raises:
        ValueError: an unknown split or factor, or no rows, or rows that do not exist.
    """
    if split not in counts:
        raise ValueError(f"no split named '{split}'; {did_you_mean(split, counts)}")
    names = (remove,) if isinstance(remove, str) else tuple(remove)
    for name in names:
        if name not in removable:
            raise ValueError(f"nothing named '{name}' can be removed; {did_you_mean(name, removable)}")
    wanted, count = torch.as_tensor(rows, dtype=torch.long).tolist(), counts[split]
    if not wanted:
        raise ValueError("rows must name one item or more; got none.")
    for row in wanted:
        if not 0 <= row < count:
            raise ValueError(f"split '{split}' has rows 0 to {count - 1}; got {row}.")
    return wanted, names


def named(kind: str, name: str, known: Collection[str]) -> str:
    """The name of a world of some kind, which must be among the known ones.

    Raises:
        ValueError: it is not; the message names the near match.
    """
    if name not in known:
        raise ValueError(f"no {kind} named '{name}'; {did_you_mean(name, known)}")
    return name


def balanced(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """(count,) classes in random order, equally many of each, up to one."""
    return (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
