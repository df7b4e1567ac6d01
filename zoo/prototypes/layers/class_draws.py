"""Training images that are drawn anew at each step, the same number of each class."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from zoo.training.projection_set import ProjectionSet
from zoo.utils.collate import collate


class ClassDraws(Sampler[list[int]]):
    """Numbers of items without end: each time `count` different ones of each class, class by class.

    A class with fewer items gives them again.

    Args:
        targets: (N,) classes of all items.
        classes: C.
        count: of each class.
        seed: of the draws.
        among: (M,) numbers of the items to draw from; by default all.

    Raises:
        ValueError: a class has no items.
    """

    def __init__(self, targets: Tensor, classes: int, count: int, seed: int, among: Tensor | None = None) -> None:
        self.numbers = torch.arange(len(targets)) if among is None else among.cpu()
        self.targets, self.count = targets.cpu()[self.numbers], count
        self.sizes = torch.bincount(self.targets, minlength=classes)
        if not bool(self.sizes.all()):
            raise ValueError(
                f"classes {(self.sizes == 0).nonzero()[:, 0].tolist()[:5]} have no training items to draw."
            )
        self.starts = self.sizes.cumsum(0) - self.sizes
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[list[int]]:
        within = torch.arange(self.count) % self.sizes[:, None]  # (C, count)
        places = (self.starts[:, None] + within).flatten()
        while True:
            shuffled = torch.randperm(len(self.targets), generator=self.generator)
            by_class = shuffled[self.targets[shuffled].sort(stable=True).indices]
            yield self.numbers[by_class[places]].tolist()


def draws_of(
    projection_set: ProjectionSet, classes: int, count: int, seed: int, among: Tensor | None = None
) -> Iterator[Tensor]:
    """Inputs (C count, ...) of the training set on its device, drawn anew at each step, class by class.

    Args:
        projection_set: the training set.
        classes: C.
        count: items of each class.
        seed: of the draws.
        among: (M,) numbers of the items to draw from; by default all.
    """
    targets = getattr(projection_set.dataset, "targets", None)
    if not isinstance(targets, Tensor):
        targets = projection_set.gather(torch.cat([batch["target"] for batch in projection_set]))
    draws = ClassDraws(targets, classes, count, seed, among)
    workers = projection_set.loader.num_workers
    loader = DataLoader(projection_set.dataset, batch_sampler=draws, num_workers=workers, collate_fn=collate)
    for batch in loader:
        x = batch["input"] if isinstance(batch, dict) else batch[0]
        yield x.to(projection_set.device, non_blocking=True)
