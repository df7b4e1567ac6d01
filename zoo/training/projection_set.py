"""The training set that a recipe's actions read: unaugmented, in a fixed order, this rank's share of it."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
import torch.distributed as dist
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from zoo.utils.collate import collate
from zoo.utils.progress import track


class ProjectionSet:
    """Streams batches of a map-style data set as dicts of its tensors, with the "index" of each item.

    Args:
        dataset: items are dicts with "input" and "target", or pairs of these. If it has a method `name(i)`, that is the
            name of item i.
        batch_size: items per batch.
        device: where the tensors are moved.
        workers: processes that load; 0 loads in the main process.
        rank: number of this process; it reads the items rank, rank + world, rank + 2 world, ...
        world: number of processes.
        title: of the progress bar; without one there is no bar.

    Raises:
        TypeError: the data set has no length.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int = 64,
        device: torch.device | str = "cpu",
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        title: str = "",
    ) -> None:
        self.dataset, self.device, self.rank, self.world, self.title = dataset, device, rank, world, title
        self.size = size_of(dataset)
        share = Subset(dataset, range(rank, self.size, world))
        pinned = torch.device(device).type == "cuda"
        self.loader = DataLoader(share, batch_size, num_workers=workers, collate_fn=collate, pin_memory=pinned)

    @classmethod
    def of(cls, trainer: Trainer, device: torch.device, title: str) -> "ProjectionSet":
        """The projection set of a running fit.

        It is the data module's `projection_dataset()`. If there is none, the training set is read as it is, with a
        warning.

        Args:
            trainer: of the fit.
            device: where the tensors are moved.
            title: of the progress bar, such as the name of the action.
        """
        find = getattr(getattr(trainer, "datamodule", None), "projection_dataset", None)
        loader: Any = trainer.train_dataloader
        if find is None:
            rank_zero_warn(
                f"{title}: the data module has no projection_dataset(), so the training set is read as it is; "
                "if it augments, prototypes will come from augmented inputs."
            )
        shown = trainer.progress_bar_callback is not None and trainer.is_global_zero
        return cls(
            loader.dataset if find is None else find(),
            batch_size=loader.batch_size or 64,
            device=device,
            workers=loader.num_workers,
            rank=trainer.global_rank,
            world=trainer.world_size,
            title=title if shown else "",
        )

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        index = torch.arange(self.rank, self.size, self.world)
        start = 0
        for item in track(self.loader, self.title, shown=bool(self.title)):
            batch = item if isinstance(item, dict) else dict(zip(("input", "target"), item, strict=True))
            size = len(batch["input"])
            moved = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if isinstance(v, Tensor)}
            yield {**moved, "index": index[start : start + size].to(self.device)}
            start += size

    def gather(self, rows: Tensor) -> Tensor:
        """Joins the rows (N / world, ...) of all ranks, one for each item, in the order of the items (N, ...)."""
        if self.world == 1:
            return rows
        counts = [len(range(rank, self.size, self.world)) for rank in range(self.world)]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        joined = rows.new_empty(self.size, *rows.shape[1:])
        for rank, part in enumerate(parts):
            joined[rank :: self.world] = part[: counts[rank]]
        return joined

    def total(self, value: Tensor) -> Tensor:
        """Sums a value over all ranks."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def input(self, i: int) -> Tensor:
        """Input i, on the device, without batch dimension."""
        item: Any = self.dataset[i]
        return (item["input"] if isinstance(item, dict) else item[0]).to(self.device)

    def name(self, i: int) -> str:
        """Name of item i; its number if the data set has no names."""
        name = getattr(self.dataset, "name", None)
        return f"item {i}" if name is None else name(i)


def size_of(dataset: Dataset) -> int:
    """Number of items of a map-style data set.

    Raises:
        TypeError: it has no length.
    """
    if not isinstance(dataset, Sized):
        raise TypeError(f"expected a map-style data set, with a length; got {type(dataset).__name__}.")
    return len(dataset)
