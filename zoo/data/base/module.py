"""The base of all data modules: splits and loaders."""

from functools import cached_property
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.base.items import Items, Part
from zoo.data.base.sampling import BalancedSampler, EpochSampler, class_weights, stratified_split
from zoo.domain import Domain
from zoo.utils.collate import collate


class DataModule(LightningDataModule):
    """The base of all data modules; a subclass defines `make_domain` and `items`.

    Items are dicts with "input" and "target", and "concepts" (k,) in {0, 1, NaN} where concepts are annotated.

    Args:
        batch_size: items per batch.
        workers: number of loading processes; 0 loads in the main process.
        seed: of random splits, of generated data, and of the shuffle of each epoch.
        val_fraction: share of the training items held out for validation, in (0, 1), stratified by class. Not used if
            the data has its own validation split.
        sampling: "uniform" reads every training item once in an epoch; "balanced" draws as many items, each from a
            class that is drawn uniformly, with replacement.
        class_weights: weights of the classes in the cross-entropy of training and validation: a list of C numbers, or
            "balanced", N / (C n_c) for n_c of N training items. Models with another loss refuse it.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or not 0 < val_fraction < 1:
            raise ValueError(
                f"expected batch_size >= 1, workers >= 0 and 0 < val_fraction < 1; got {batch_size}, "
                f"{workers}, {val_fraction}."
            )
        if sampling not in ("uniform", "balanced"):
            raise ValueError(f"sampling must be 'uniform' or 'balanced'; got {sampling!r}.")
        self.batch_size, self.workers, self.seed, self.val_fraction = batch_size, workers, seed, val_fraction
        self.sampling, self.class_weights = sampling, class_weights

    def make_domain(self) -> Domain:
        """The domain of this data: names, preprocessing, and shapes of inputs and outputs."""
        raise NotImplementedError("a data module defines make_domain()")

    def items(self, split: str, training: bool) -> Items:
        """The items of one official split.

        Args:
            split: "train", "val" or "test".
            training: whether the items are to be augmented for training.

        Raises:
            KeyError: there is no official "val" split; a part of "train" is held out instead.
        """
        raise NotImplementedError("a data module defines items()")

    @cached_property
    def domain(self) -> dict[str, Any]:
        """The domain as plain data: a model's first argument."""
        return self.make_domain().to_dict()

    @cached_property
    def _train_and_val_rows(self) -> tuple[list[int], list[int]]:
        """Row numbers of the official training split: for training, and held out for validation."""
        return stratified_split(self.items("train", False).targets, self.val_fraction, self.seed)

    def train_dataset(self) -> Items:
        """The training items, augmented as configured."""
        return self._training_part(True)

    def projection_dataset(self) -> Items:
        """The training items in fixed order and without augmentation, from which prototypes are projected."""
        return self._training_part(False)

    def _training_part(self, augmented: bool) -> Items:
        items = self.items("train", augmented)
        return items if self._has_val else Part(items, self._train_and_val_rows[0])

    def concept_labels(self) -> Tensor:
        """The concepts (N, k) of the training items, without loading the items.

        Raises:
            ValueError: this data has no annotated concepts.
        """
        concepts = self._training_part(False).concepts
        if concepts is None:
            raise ValueError(f"{type(self).__name__} has no annotated concepts; use data with concepts.")
        return concepts

    def val_dataset(self) -> Items:
        """The validation items: the official split, or the held-out part of the training items."""
        if self._has_val:
            return self.items("val", False)
        return Part(self.items("train", False), self._train_and_val_rows[1])

    def test_dataset(self) -> Items:
        """The test items, which only the final test uses."""
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
        if self.trainer:
            # A Trainer that resumes starts the workers before it passes the epoch to the sampler.
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
        else:
            sampler.set_epoch(0)
        # Batch norm of a 1 x 1 map is undefined for a batch of one.
        last_is_single = len(sampler) % self.batch_size == 1
        return self._loader(dataset, sampler=sampler, generator=generator, drop_last=last_is_single)

    def loss_weights(self) -> Tensor | None:
        """Weights (C,) of the classes in the loss; None if all count the same.

        Raises:
            ValueError: not one positive number for each class.
        """
        if self.class_weights is None:
            return None
        targets, count = self._training_part(False).targets, len(self.domain["classes"])
        return class_weights(self.class_weights, targets, count)

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        """The order of the training items in each epoch."""
        if self.sampling == "balanced":
            targets = getattr(dataset, "targets", torch.zeros(0))
            return BalancedSampler(dataset, generator, self.seed, targets)
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
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
