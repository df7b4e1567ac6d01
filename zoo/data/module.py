"""What all image data modules share: splits, preprocessing, augmentation, and an order that follows from the epoch."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from zoo.data.augment import pipeline
from zoo.domain import ImageDomain, open_image


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


class Pictures(Dataset):
    """A list of pictures in memory, or of files that are decoded when asked for.

    Items are {"input": (C, H, W) normalised, "target": class}.

    Args:
        sources: uint8 pictures (N, C, H, W), or paths.
        targets: (N,) classes.
        domain: how a picture becomes an input.
        names: what the items are called.
        boxes: (N, 4) left, top, width, height in pixels, to crop files to; None for whole pictures.
        augment: name of an augmentation, see `zoo.data.augment`.
    """

    def __init__(
        self,
        sources: Tensor | Sequence[Path],
        targets: Tensor,
        domain: ImageDomain,
        names: Sequence[str],
        boxes: Tensor | None = None,
        augment: str = "none",
    ) -> None:
        self.sources, self.targets, self.domain, self.names, self.boxes = sources, targets, domain, names, boxes
        self.augment = pipeline(augment, domain.size)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.domain.preprocess(self.augment(self.picture(i))), "target": int(self.targets[i])}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """A whole batch at once; pictures in memory that are not augmented are normalised together."""
        if not isinstance(self.sources, Tensor) or self.augment.changes:
            return [self[i] for i in indices]
        inputs = self.domain.preprocess(self.sources[indices])
        return [{"input": x, "target": y} for x, y in zip(inputs, self.targets[indices].tolist(), strict=True)]

    def picture(self, i: int) -> Any:
        """The picture as it is, before augmentation and preprocessing."""
        source = self.sources[i]
        if isinstance(source, Tensor):
            return source
        image = open_image(source)
        if self.boxes is None:
            return image
        left, top, width, height = self.boxes[i].tolist()
        return image.crop((round(left), round(top), round(left + width), round(top + height)))

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.names[i]


class Part(Subset):
    """Some items of a data set, which keep their names."""

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.dataset.name(self.indices[i])  # pyright: ignore[reportAttributeAccessIssue]


class ImageData(LightningDataModule):
    """The base of all image data modules; a data set defines `domain_of` and `split`.

    Args:
        batch_size: items a batch.
        workers: processes that load; 0 loads in the main process.
        seed: of the split into train and validation, and of the shuffles.
        val_fraction: share of the training images held out for validation, in (0, 1), from every class.
        augment: augmentation of the training images, see `zoo.data.augment`.
    """

    def __init__(
        self, batch_size: int = 64, workers: int = 0, seed: int = 0, val_fraction: float = 0.1, augment: str = "none"
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or not 0 < val_fraction < 1:
            raise ValueError(
                f"expected batch_size >= 1, workers >= 0 and 0 < val_fraction < 1; got {batch_size}, "
                f"{workers}, {val_fraction}."
            )
        pipeline(augment, (1, 1))  # an unknown name is an error now, not when the first batch is loaded
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.val_fraction, self.augment = val_fraction, augment

    def image_domain(self) -> ImageDomain:
        """How pictures become inputs, and what the classes are called."""
        raise NotImplementedError("a data module defines image_domain()")

    def pictures(self, split: str, augment: str) -> Pictures:
        """The pictures of one official split, "train", "val" or "test".

        Raises:
            KeyError: there is no official "val" split; then a part of "train" is held out.
        """
        raise NotImplementedError("a data module defines pictures()")

    @cached_property
    def domain(self) -> dict[str, Any]:
        """What inputs and outputs mean, as plain data: a model's first argument."""
        return self.image_domain().to_dict()

    @cached_property
    def _rows(self) -> tuple[list[int], list[int]]:
        """Rows of the official training split to train and to validate on."""
        return stratified_split(self.pictures("train", "none").targets, self.val_fraction, self.seed)

    def train_dataset(self, augment: str | None = None) -> Dataset:
        """The training images, augmented as configured or as named."""
        pictures = self.pictures("train", self.augment if augment is None else augment)
        return pictures if self._has_val else Part(pictures, self._rows[0])

    def reference_dataset(self) -> Dataset:
        """The training images in fixed order, not augmented: where prototypes are taken from."""
        return self.train_dataset("none")

    def val_dataset(self) -> Dataset:
        """The validation images: the official split, or the held-out part of the training images."""
        return self.pictures("val", "none") if self._has_val else Part(self.pictures("train", "none"), self._rows[1])

    def test_dataset(self) -> Dataset:
        """The test images; nothing but the final test looks at them."""
        return self.pictures("test", "none")

    @cached_property
    def _has_val(self) -> bool:
        try:
            self.pictures("val", "none")
        except KeyError:
            return False
        return True

    def train_dataloader(self) -> DataLoader:
        dataset, generator = self.train_dataset(), torch.Generator().manual_seed(self.seed)
        sampler = EpochSampler(dataset, generator, self.seed)
        # A Trainer that resumes starts the workers before it tells the sampler which epoch it is.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        # A last batch of one would make batch norm of a 1x1 map undefined.
        return self._loader(
            dataset, sampler=sampler, generator=generator, drop_last=len(sampler) % self.batch_size == 1
        )

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

    Args:
        targets: (N,) classes.
        fraction: to hold out, in (0, 1).
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(targets), dtype=torch.bool)
    for c in targets.unique():
        rows = (targets == c).nonzero().flatten()
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
