"""What worlds of pictures share: they are painted when asked for, with or without what they are made of."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.synthetic.benchmark import asked_for
from zoo.domain import ImageDomain
from zoo.utils.errors import did_you_mean


class Painted:
    """Pictures painted when asked for: number i gives (C, H, W), a list of n numbers (n, C, H, W), uint8."""

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        """The pictures (n, C, H, W), uint8, without what is named; everything else is as it was."""
        raise NotImplementedError("a world of pictures defines paint()")

    def regions(self, rows: list[int]) -> Tensor:
        """(n, R, H, W) in {0, 1}: the pixels of each factor."""
        raise NotImplementedError("a world of pictures defines regions()")

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.paint([i], ())[0] if isinstance(i, int) else self.paint(i, ())


class Paintings(Pictures):
    """Pictures painted when asked for, whose items also hold "regions" (R, H, W)."""

    sources: Painted

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        inputs, regions = self.domain.preprocess(self.sources[indices]), self.sources.regions(indices)
        return [self._item(i, x) | {"regions": r} for i, x, r in zip(indices, inputs, regions, strict=True)]


class PictureWorld(ImageData):
    """The base of generated pictures whose evidence is known; a world defines `make_domain` and `draw`.

    Batches have "regions" (R, H, W) in {0, 1}, the pixels of each factor, for measurements; nothing learns from them.

    Attributes:
        factors: what the regions are of, in order.
        removable: what `interventions` can take away.
        counts: how many pictures each split has.
    """

    factors: tuple[str, ...]
    removable: tuple[str, ...]
    counts: dict[str, int]

    @property
    def ceiling(self) -> float:
        """The highest accuracy that can be expected of any model."""
        raise NotImplementedError("a world of pictures defines ceiling")

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        """New pictures of a split; all chance comes from the generator."""
        raise NotImplementedError("a world of pictures defines draw()")

    def pictures(self, split: str, augment: str) -> Pictures:
        return self._splits[split]

    def interventions(self, split: str, rows: Sequence[int] | Tensor, remove: Collection[str]) -> Tensor:
        """Inputs of some rows, painted again without what is named in `remove`; all else is as it was.

        Args:
            split: "train", "val" or "test".
            rows: n numbers of items.
            remove: names out of `removable`; none gives the inputs themselves.

        Returns:
            (n, C, H, W), as the items hold them.

        Raises:
            ValueError: an unknown split or factor, or no rows, or rows that do not exist.
        """
        wanted, names = asked_for(split, rows, remove, self.counts, self.removable)
        items = self._splits[split]
        return items.domain.preprocess(items.sources.paint(wanted, names))

    def checked(self, split: str, rows: Sequence[int] | Tensor) -> list[int]:
        """The rows as numbers.

        Raises:
            ValueError: an unknown split, or no rows, or rows that do not exist.
        """
        return asked_for(split, rows, (), self.counts, ())[0]

    @cached_property
    def _splits(self) -> dict[str, Paintings]:
        """Every split is drawn from a random stream of its own."""
        streams = {split: torch.Generator().manual_seed(3 * self.seed + i) for i, split in enumerate(self.counts)}
        return {split: self.draw(split, count, streams[split]) for split, count in self.counts.items()}


def split_counts(count: int, test_count: int, val_fraction: float) -> dict[str, int]:
    """Pictures of each split; those to validate on are `val_fraction` times as many as those to train on.

    Raises:
        ValueError: too few.
    """
    if count < 10 or test_count < 1:
        raise ValueError(f"expected count >= 10 and test_count >= 1; got {count} and {test_count}.")
    return {"train": count, "val": max(round(count * val_fraction), 1), "test": test_count}


def one_of(name: str, value: str, known: Collection[str]) -> None:
    """Refuses a value of an argument that is not among the known ones.

    Raises:
        ValueError: it is not; the message names the near match.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'; {did_you_mean(value, known)}")


def over(below: Tensor, ink: Tensor, alpha: Tensor) -> Tensor:
    """Paints ink over pictures, of 0 to 255: alpha 255 hides what is below, alpha 0 keeps it bit-equal."""
    a = alpha.int()
    return ((below * (255 - a) + ink * a + 127) // 255).to(torch.uint8)


def grey_domain(classes: Sequence[str], size: tuple[int, int], mean: float, std: float) -> ImageDomain:
    """Grey pictures of one size."""
    return ImageDomain(classes=tuple(classes), size=size, channels=1, mean=(mean,), std=(std,))
