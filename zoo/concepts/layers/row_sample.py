"""A uniform random sample of feature vectors that stream by."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Sample:
    """A uniform random sample of rows that stream by, without replacement; memory does not grow with their number.

    Args:
        count: size of the sample; fewer if there are fewer rows.
        seed: of the draw.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.draw = count, torch.Generator().manual_seed(seed)
        self.kept: tuple[Tensor, Tensor] | None = None  # a random key of each row, and the rows

    def watch(self, batches: Iterable[Tensor]) -> Iterable[Tensor]:
        """The batches (N, d) as they are, from each of which rows may be kept."""
        for rows in batches:
            if self.count:
                self.add(rows)
            yield rows

    def add(self, rows: Tensor) -> None:
        """Keeps those rows (N, d) whose random keys are among the largest so far."""
        keys = torch.rand(len(rows), generator=self.draw, dtype=torch.double).to(rows.device)
        if self.kept is not None:
            few = keys > self.kept[0].min() if len(self.kept[0]) == self.count else torch.ones_like(keys).bool()
            keys, rows = torch.cat([self.kept[0], keys[few]]), torch.cat([self.kept[1], rows[few]])
        best = keys.topk(min(self.count, len(keys)))
        self.kept = best.values, rows[best.indices]

    @property
    def rows(self) -> Tensor:
        """The sample (n, d), in random order.

        Raises:
            ValueError: nothing was added.
        """
        if self.kept is None:
            raise ValueError("the training set is empty; check the data.")
        return self.kept[1]
