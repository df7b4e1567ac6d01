"""Which items are held out, and in which order the training items are read."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler


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
