"""Handwritten digits, 8 x 8 pixels, that come with scikit-learn: nothing is downloaded."""

from functools import cached_property

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.module import stratified_split
from zoo.domain import ImageDomain

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits(ImageData):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; 20 % of every class are the test set.

    Args:
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits and the shuffles.
        val_fraction: share of the training images held out for validation.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        views: 2 gives training batches a second view of each image, as "view".
    """

    def __init__(
        self,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        augment: str = "none",
        views: int = 1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, augment, views)

    def make_domain(self) -> ImageDomain:
        return ImageDomain(classes=NAMES, size=(8, 8), channels=1, mean=(0.305,), std=(0.376,))

    def pictures(self, split: str, augment: str) -> Pictures:
        images, targets = self._all
        rows = dict(zip(("train", "test"), stratified_split(targets, 0.2, self.seed), strict=True))[split]
        names = [f"digit {i}" for i in rows]
        return Pictures(images[rows], targets[rows], self.make_domain(), names, augment=augment)

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits  # not before: it takes most of a second

        digits = load_digits()
        # Whole grey levels, so that a digit written to a PNG and read again is the same input.
        images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        return images, torch.from_numpy(digits.target)
