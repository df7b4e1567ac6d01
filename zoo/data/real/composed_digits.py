"""Pictures composed of several handwritten digits of MNIST."""

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.sampling import stratified_split
from zoo.data.real.torchvision import TorchvisionData
from zoo.domain import ImageDomain
from zoo.utils.checks import check_at_least


class ComposedDigits(ImageData):
    """The base of data whose pictures are composed of MNIST digits; a subclass defines `make_domain` and `compose`.

    Test pictures are composed of MNIST's test digits. The digits of validation pictures are in no training picture.

    Args:
        root: folder that contains MNIST, see `TorchvisionData`.
        download: download MNIST if it is missing.
        count: number of training pictures.
        test_count: number of test pictures.
        batch_size, workers, seed, sampling, class_weights: see `DataModule`.
        val_fraction: share of MNIST's training digits held out for validation; the number of validation pictures is the
            same share of `count`.
    """

    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        count: int = 10_000,
        test_count: int = 10_000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, sampling=sampling, class_weights=class_weights)
        check_at_least(10, count=count)
        check_at_least(1, test_count=test_count)
        self.digits = TorchvisionData("MNIST", root, download, seed=seed)
        self.count, self.test_count = count, test_count

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    @cached_property
    def digit_domain(self) -> ImageDomain:
        """The domain of a single digit."""
        return self.digits.make_domain()

    def compose(self, split: str, source: Pictures, usable: Tensor, count: int, generator: torch.Generator) -> Pictures:
        """Pictures composed of digits.

        Args:
            split: "train", "val" or "test".
            source: digits of MNIST.
            usable: row numbers of the digits to choose from.
            count: number of pictures.
            generator: of all randomness.
        """
        raise NotImplementedError("data of composed digits defines compose()")

    def pictures(self, split: str, augment: str) -> Pictures:
        return self._splits[split]

    @cached_property
    def _splits(self) -> dict[str, Pictures]:
        train, test = (self.digits.pictures(split, "none") for split in ("train", "test"))
        kept, held = (torch.tensor(rows) for rows in stratified_split(train.targets, self.val_fraction, self.seed))
        val_count = max(round(self.count * self.val_fraction), 1)
        parts = {
            "train": (train, kept, self.count),
            "val": (train, held, val_count),
            "test": (test, torch.arange(len(test)), self.test_count),
        }
        return {  # each split is drawn from its own random stream
            split: self.compose(split, *part, torch.Generator().manual_seed(3 * self.seed + stream))
            for stream, (split, part) in enumerate(parts.items())
        }
