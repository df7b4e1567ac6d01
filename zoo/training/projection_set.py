"""The training set as the actions of a recipe see it: unaugmented, in a fixed order, this rank's share of it."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm


class ProjectionSet:
    """Streams batches of a map-style data set as dicts of its tensors, with the "index" of each item.

    Args:
        dataset: items are dicts with "input" and "target", or pairs. Its method `name(i)`, if it has one, tells what
            item i is called.
        batch_size: items a batch.
        device: where the tensors go.
        workers: processes that load.
        rank, world: this process's number and how many there are; it sees items rank, rank + world, ...
        title: what the progress bar says; no bar without one.
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
        share = Subset(dataset, range(rank, len(dataset), world))  # pyright: ignore[reportArgumentType]
        self.loader = DataLoader(share, batch_size, num_workers=workers, pin_memory=torch.device(device).type == "cuda")

    @classmethod
    def of(cls, trainer: Trainer, device: torch.device, title: str) -> "ProjectionSet":
        """The reference set of a running fit: the data module's `projection_dataset()`, or the training set as it is."""
        data, loader = getattr(trainer, "datamodule", None), trainer.train_dataloader
        if hasattr(data, "projection_dataset"):
            dataset = data.projection_dataset()
        else:
            dataset = loader.dataset
            rank_zero_warn(
                f"{title}: the data module has no projection_dataset(), so the training set is read as it is; "
                "if it augments, prototypes will come from augmented inputs."
            )
        quiet = title if trainer.progress_bar_callback is not None and trainer.is_global_zero else ""
        return cls(
            dataset,
            batch_size=loader.batch_size or 64,
            device=device,
            workers=loader.num_workers,
            rank=trainer.global_rank,
            world=trainer.world_size,
            title=quiet,
        )

    def __len__(self) -> int:
        return len(self.dataset)  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        index = torch.arange(self.rank, len(self), self.world)
        start = 0
        for item in tqdm(self.loader, desc=self.title, leave=False, disable=not self.title):
            batch = item if isinstance(item, dict) else dict(zip(("input", "target"), item, strict=True))
            size = len(batch["input"])
            moved = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if isinstance(v, Tensor)}
            yield {**moved, "index": index[start : start + size].to(self.device)}
            start += size

    def gather(self, rows: Tensor) -> Tensor:
        """What each rank has of a value for every item (N / world, ...), as one tensor in the order of the items."""
        if self.world == 1:
            return rows
        counts = [len(range(rank, len(self), self.world)) for rank in range(self.world)]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        whole = rows.new_empty(len(self), *rows.shape[1:])
        for rank, part in enumerate(parts):
            whole[rank :: self.world] = part[: counts[rank]]
        return whole

    def total(self, value: Tensor) -> Tensor:
        """The sum of what each rank has of a value."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def input(self, i: int) -> Tensor:
        """Input i, on the device, without batch dimension."""
        item: Any = self.dataset[i]
        return (item["input"] if isinstance(item, dict) else item[0]).to(self.device)

    def name(self, i: int) -> str:
        """What item i is called; its number if the data set has no names."""
        return self.dataset.name(i) if hasattr(self.dataset, "name") else f"item {i}"  # pyright: ignore[reportAttributeAccessIssue]
