"""The base of synthetic benchmarks: generated data whose evidence is known and can be removed."""

from collections.abc import Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.base.items import Items
from zoo.data.base.module import DataModule
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean


class EvidenceItems(Items):
    """Items whose evidence is known, and which can be generated again without some factors."""

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        """Inputs (n, *S) of some rows without the named factors; everything else is unchanged."""
        raise NotImplementedError("the items of a synthetic benchmark define without()")


class SyntheticBenchmark(DataModule):
    """The base of generated data whose evidence is known; a subclass defines `make_domain`, `draw` and its attributes.

    Batches have "regions" (R, *S) in {0, 1}: the elements of the input that belong to each factor. They are used by
    metrics only, never for training, except as masks where a data module is asked for them.

    Attributes:
        factors: what the R regions belong to, in order.
        also_removable: further factors that `interventions` can remove, which have no region.
        ceiling: the highest expected accuracy of any model, in [0, 1].
    """

    factors: tuple[str, ...]
    also_removable: tuple[str, ...] = ()
    ceiling: float

    @property
    def removable(self) -> tuple[str, ...]:
        """All factors that `interventions` can remove."""
        return self.factors + self.also_removable

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of items of each split."""
        raise NotImplementedError("a synthetic benchmark defines counts")

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceItems:
        """Generates the items of a split; all randomness comes from the generator."""
        raise NotImplementedError("a synthetic benchmark defines draw()")

    def items(self, split: str, training: bool) -> Items:
        return self._splits[split]

    @cached_property
    def _splits(self) -> dict[str, EvidenceItems]:
        """The items of each split, drawn from its own random stream."""
        return {
            split: self.draw(split, count, torch.Generator().manual_seed(3 * self.seed + stream))
            for stream, (split, count) in enumerate(self.counts.items())
        }

    def interventions(self, split: str, rows: Sequence[int] | Tensor, remove: Collection[str]) -> Tensor:
        """Inputs of some rows, generated again without the factors in `remove`; everything else is bit-equal.

        Args:
            split: "train", "val" or "test".
            rows: n row numbers.
            remove: names out of `removable`; an empty collection returns the original inputs.

        Returns:
            (n, *S), preprocessed like the inputs of the items.

        Raises:
            ValueError: unknown split or factor, no rows, or rows out of range.
        """
        names = (remove,) if isinstance(remove, str) else tuple(remove)
        wanted = self.check_rows(split, rows)
        for name in names:
            if name not in self.removable:
                raise ValueError(f"no removable factor named '{name}'; {did_you_mean(name, self.removable)}")
        return self._splits[split].without(wanted, names)

    def check_rows(self, split: str, rows: Sequence[int] | Tensor) -> list[int]:
        """The row numbers as a list.

        Raises:
            ValueError: unknown split, no rows, or rows out of range.
        """
        check_choice(self.counts, split=split)
        wanted, count = torch.as_tensor(rows, dtype=torch.long).tolist(), self.counts[split]
        if not wanted:
            raise ValueError("rows must name at least one item; got none.")
        for row in wanted:
            if not 0 <= row < count:
                raise ValueError(f"split '{split}' has rows 0 to {count - 1}; got {row}.")
        return wanted


def split_counts(count: int, test_count: int, val_fraction: float) -> dict[str, int]:
    """Number of items of each split; the validation split has `val_fraction` times as many as the training split.

    Raises:
        ValueError: a split is too small.
    """
    check_at_least(10, count=count)
    check_at_least(1, test_count=test_count)
    return {"train": count, "val": max(round(count * val_fraction), 1), "test": test_count}
