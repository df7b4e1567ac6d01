"""Which items are held out, and in which order the training items are read."""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

POOL = 50  # batches whose items are sorted by length together


class EpochSampler(DistributedSampler):
    """A shuffle that depends on (seed, epoch) alone, so that a resumed run repeats it; sharded under DDP.

    Args:
        dataset: what to sample from.
        generator: shared with the DataLoader, whose workers draw their seeds from it; reseeded in every epoch.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, generator: torch.Generator, seed: int) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        world, rank = (dist.get_world_size(), dist.get_rank()) if distributed else (1, 0)
        super().__init__(dataset, world, rank, shuffle=True, seed=seed)
        self.generator = generator

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.generator.manual_seed(self.seed + 1_000_003 * epoch + self.rank)


class LengthSampler(EpochSampler):
    """A shuffle whose batches have items of similar length, so that little of a batch is padding.

    The shuffle of `EpochSampler` is cut into pools of 50 batches; the items of a pool are sorted by length and cut into
    batches, and the batches are shuffled. The last items of the shuffle, which fill no batch, stay last: were they
    sorted too, a loader that drops a single last item would always drop the longest.

    Args:
        dataset, generator, seed: see `EpochSampler`.
        lengths: (N,) of the items.
        batch_size: of the loader.
    """

    def __init__(
        self, dataset: Dataset, generator: torch.Generator, seed: int, lengths: Tensor, batch_size: int
    ) -> None:
        super().__init__(dataset, generator, seed)
        self.lengths, self.batch_size = lengths, batch_size

    def __iter__(self) -> Iterator[int]:
        rows, size = torch.tensor(list(super().__iter__()), dtype=torch.long), self.batch_size
        whole = len(rows) // size
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in rows[: whole * size].split(POOL * size)]
        mixed = torch.randperm(whole, generator=torch.Generator().manual_seed(self.seed + self.epoch))
        batches = torch.cat(pools).view(whole, size)[mixed].flatten()
        return iter([*batches.tolist(), *rows[whole * size :].tolist()])


class BalancedSampler(EpochSampler):
    """Draws as many items as there are, with replacement: a class uniformly, then one of its items uniformly.

    Args:
        dataset, generator, seed: see `EpochSampler`.
        targets: (N,) classes.

    Raises:
        ValueError: the targets are not classes.
    """

    def __init__(self, dataset: Dataset, generator: torch.Generator, seed: int, targets: Tensor) -> None:
        super().__init__(dataset, generator, seed)
        if targets.is_floating_point() or targets.ndim != 1:
            raise ValueError("sampling: balanced needs one class for each item; use sampling: uniform.")
        self.items = targets.argsort(stable=True)
        self.counts = targets.unique(return_counts=True)[1]

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed + self.epoch)
        chosen = torch.randint(len(self.counts), (self.total_size,), generator=draw)
        place = (torch.rand(self.total_size, generator=draw, dtype=torch.float64) * self.counts[chosen]).long()
        rows = self.items[(self.counts.cumsum(0) - self.counts)[chosen] + place]
        return iter(rows[self.rank :: self.num_replicas].tolist())


def class_weights(given: str | list[float], targets: Tensor, classes: int) -> Tensor:
    """Weights (C,) of the classes in a loss.

    Args:
        given: C numbers; or "balanced", N / (C n_c), 0 for a class without items.
        targets: (N,) classes of the training items.
        classes: C.

    Raises:
        ValueError: not one number above 0 for each class, or the targets are not classes.
    """
    if targets.is_floating_point():
        raise ValueError("class_weights needs classes, and the targets are values; leave it out.")
    if given == "balanced":
        counts = torch.bincount(targets, minlength=classes).float()
        return torch.where(counts > 0, len(targets) / (classes * counts.clamp_min(1)), 0.0)
    numbers = [] if isinstance(given, str) else list(given)
    if len(numbers) != classes or min(numbers) <= 0:
        raise ValueError(f"class_weights must be 'balanced' or {classes} numbers above 0; got {given!r}.")
    return torch.tensor(numbers, dtype=torch.float32)


def stratified_split(targets: Tensor, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers of the kept and the held-out part; the same fraction of every class is held out.

    For regression targets the held-out rows are drawn from all rows.

    Args:
        targets: (N,) classes, or (N,) or (N, C) floating-point values.
        fraction: share to hold out, in (0, 1).
        seed: of the random choice.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(targets), dtype=torch.bool)
    labels = torch.zeros(len(targets)) if targets.is_floating_point() else targets
    for c in labels.unique():
        rows = (labels == c).nonzero().flatten()
        count = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
        held[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return (~held).nonzero().flatten().tolist(), held.nonzero().flatten().tolist()
