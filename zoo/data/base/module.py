"""What all data modules share: splits, loaders, and an order that follows from the epoch."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from zoo.domain import Domain


class EpochSampler(DistributedSampler):
    """A shuffle that follows from (seed, epoch) alone, so that a resumed run repeats it; shards under DDP.

    Args:
        dataset: what to sample from.
        generator: shared with the DataLoader, whose workers draw their seeds from it; reseeded at every epoch.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, generator: torch.Generator, seed: int) -> None:
        spread = dist.is_available() and dist.is_initialized()
        world, rank = (dist.get_world_size(), dist.get_rank()) if spread else (1, 0)
        super().__init__(dataset, world, rank, shuffle=True, seed=seed)
        self.generator = generator

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.generator.manual_seed(self.seed + 1_000_003 * epoch + self.rank)


class Items(Dataset):
    """A data set that knows its targets and names its items.

    Attributes:
        targets: (N,) classes, or (N, C) values.
        concepts: (N, k) in {0, 1, NaN}, or None.
    """

    targets: Tensor
    concepts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, i: int) -> str:
        """What item i is called."""
        raise NotImplementedError("a data set names its items")


class Part(Subset):
    """Some items of a data set, which keep their names."""

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.dataset.name(self.indices[i])  # pyright: ignore[reportAttributeAccessIssue]


class DataModule(LightningDataModule):
    """The base of all data modules; a data set defines `make_domain` and `items`.

    Items are dicts with "input" and "target", and "concepts" (k,) in {0, 1, NaN} where concepts are annotated.

    Args:
        batch_size: items a batch.
        workers: processes that load; 0 loads in the main process.
        seed: of the split into train and validation, and of the shuffles.
        val_fraction: share of the training items held out for validation, in (0, 1), from every class.
    """

    def __init__(self, batch_size: int = 64, workers: int = 0, seed: int = 0, val_fraction: float = 0.1) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or not 0 < val_fraction < 1:
            raise ValueError(
                f"expected batch_size >= 1, workers >= 0 and 0 < val_fraction < 1; got {batch_size}, "
                f"{workers}, {val_fraction}."
            )
        self.batch_size, self.workers, self.seed, self.val_fraction = batch_size, workers, seed, val_fraction

    def make_domain(self) -> Domain:
        """What inputs and outputs mean."""
        raise NotImplementedError("a data module defines make_domain()")

    def items(self, split: str, training: bool) -> Items:
        """The items of one official split, "train", "val" or "test"; augmented, if they are to train on.

        Raises:
            KeyError: there is no official "val" split; then a part of "train" is held out.
        """
        raise NotImplementedError("a data module defines items()")

    @cached_property
    def domain(self) -> dict[str, Any]:
        """What inputs and outputs mean, as plain data: a model's first argument."""
        return self.make_domain().to_dict()

    @cached_property
    def _rows(self) -> tuple[list[int], list[int]]:
        """Rows of the official training split to train and to validate on."""
        return stratified_split(self.items("train", False).targets, self.val_fraction, self.seed)

    def train_dataset(self) -> Dataset:
        """The training items, augmented as configured."""
        return self._training_part(True)

    def projection_dataset(self) -> Dataset:
        """The training items in fixed order, not augmented: where prototypes are taken from."""
        return self._training_part(False)

    def _training_part(self, augmented: bool) -> Dataset:
        items = self.items("train", augmented)
        return items if self._has_val else Part(items, self._rows[0])

    def concept_labels(self) -> Tensor:
        """The concepts (N, k) of the training items, without loading the items.

        Raises:
            ValueError: this data has no annotated concepts.
        """
        items = self.items("train", False)
        concepts = items.concepts
        if concepts is None:
            raise ValueError(f"{type(self).__name__} has no annotated concepts; use data that has.")
        return concepts if self._has_val else concepts[self._rows[0]]

    def val_dataset(self) -> Dataset:
        """The validation items: the official split, or the held-out part of the training items."""
        return self.items("val", False) if self._has_val else Part(self.items("train", False), self._rows[1])

    def test_dataset(self) -> Dataset:
        """The test items; nothing but the final test looks at them."""
        return self.items("test", False)

    @cached_property
    def _has_val(self) -> bool:
        try:
            self.items("val", False)
        except KeyError:
            return False
        return True

    def train_dataloader(self) -> DataLoader:
        dataset, generator = self.train_dataset(), torch.Generator().manual_seed(self.seed)
        sampler = self.make_sampler(dataset, generator)
        # A Trainer that resumes starts the workers before it tells the sampler which epoch it is.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        # A last batch of one would make batch norm of a 1x1 map undefined.
        return self._loader(
            dataset, sampler=sampler, generator=generator, drop_last=len(sampler) % self.batch_size == 1
        )

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        """The order of the training items in each epoch."""
        return EpochSampler(dataset, generator, self.seed)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.val_dataset())

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.test_dataset())

    def predict_dataloader(self) -> DataLoader:
        return self.test_dataloader()

    def _loader(self, dataset: Dataset, **options: Any) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def stratified_split(targets: Tensor, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Rows of the larger and the held-out part; the same fraction of every class is held out.

    Values have no classes: of them the rows are drawn from all.

    Args:
        targets: (N,) classes, or (N,) or (N, C) values, which are of a floating-point type.
        fraction: to hold out, in (0, 1).
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(targets), dtype=torch.bool)
    labels = torch.zeros(len(targets)) if targets.is_floating_point() else targets
    for c in labels.unique():
        rows = (labels == c).nonzero().flatten()
        count = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
        held[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return (~held).nonzero().flatten().tolist(), held.nonzero().flatten().tolist()


def expand(path: str | Path) -> Path:
    """A path given by the user, with ~ and environment variables filled in.

    Raises:
        ValueError: it names an environment variable that is not set.
    """
    filled = os.path.expandvars(Path(path).expanduser())
    if "$" in filled:
        raise ValueError(f"{path} names an environment variable that is not set; set it, or give the path itself.")
    return Path(filled)
