"""Handwritten digits, 8 x 8 pixels, which are part of scikit-learn: nothing is downloaded."""

from functools import cached_property

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.sampling import stratified_split
from zoo.domain import ImageDomain

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits(ImageData):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; 20 % of every class are the test set.

    Args:
        batch_size, workers, seed, val_fraction, augment, views: see `ImageData`.
    """

    def make_domain(self) -> ImageDomain:
        return ImageDomain(classes=NAMES, size=(8, 8), channels=1, mean=(0.305,), std=(0.376,))

    def pictures(self, split: str, augment: str) -> Pictures:
        images, targets = self._all
        kept, held = stratified_split(targets, 0.2, self.seed)
        rows = {"train": kept, "test": held}[split]
        names = [f"digit {i}" for i in rows]
        return Pictures(images[rows], targets[rows], self.make_domain(), names, augment=augment)

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits  # here, because the import takes most of a second

        pixels, targets = load_digits(return_X_y=True)
        # Integer grey levels, so that a digit written to a PNG and read again is the same input.
        images = torch.as_tensor(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        return images, torch.as_tensor(targets)
