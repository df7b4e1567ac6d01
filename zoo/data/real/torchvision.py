"""The classification data sets of torchvision by name."""

import inspect
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torchvision.datasets
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.data.base.images import ImageData, Pictures
from zoo.domain import ImageDomain
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import expand


def _has_train_and_test(cls: Any) -> bool:
    if not (inspect.isclass(cls) and issubclass(cls, torchvision.datasets.VisionDataset)):
        return False
    return {"train", "download"} <= set(inspect.signature(cls).parameters)


NO_CLASSES = {"PhotoTour", "Kitti"}  # pairs of patches; boxes
SETS = {
    name: cls for name, cls in vars(torchvision.datasets).items() if _has_train_and_test(cls) and name not in NO_CLASSES
}


class TorchvisionData(ImageData):
    """A classification data set of torchvision with a train and a test split that fits into memory, such as CIFAR10.

    Args:
        name: of the class in torchvision.datasets.
        root: folder that contains it; by default $ZOO_DATA/<name in lower case>, or data/<name in lower case>.
        download: download the data set if it is missing.
        size: height and width of the input in pixels; by default those of the pictures.
        limit: use only the first `limit` training images; 0 for all.
        **loading: the options of `ImageData`.

    Raises:
        ValueError: unknown data set.
    """

    def __init__(
        self,
        name: str,
        root: str | None = None,
        download: bool = False,
        size: tuple[int, int] | None = None,
        limit: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if name not in SETS:
            near = did_you_mean(name, sorted(SETS))
            raise ValueError(f"no data set named '{name}' with a train and a test split in torchvision; {near}")
        folder = root or ("$ZOO_DATA/" if "ZOO_DATA" in os.environ else "data/") + name.lower()
        self.set_name, self.root, self.download, self.size, self.limit = name, expand(folder), download, size, limit

    def prepare_data(self) -> None:
        if self.download:
            for train in (True, False):
                SETS[self.set_name](str(self.root), train=train, download=True)

    def make_domain(self) -> ImageDomain:
        images, _, classes = self._train
        # Random, because the two writer groups of MNIST alternate: a stride would be biased.
        some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:5000]
        scaled = images[some].float().div(255)
        height, width = self.size or images.shape[-2:]
        mean, std = ([round(v, 3) for v in s.tolist()] for s in (scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))))
        return ImageDomain(
            classes=classes, size=(height, width), channels=images.shape[1], mean=tuple(mean), std=tuple(std)
        )

    def pictures(self, split: str, augment: str) -> Pictures:
        images, targets, _ = {"train": lambda: self._train, "test": lambda: self._test}[split]()
        names = NumberedNames(f"{self.set_name} {split} image", len(images))
        return Pictures(images, targets, self._image_domain, names, augment=augment)

    @cached_property
    def _image_domain(self) -> ImageDomain:
        return self.make_domain()

    @cached_property
    def _train(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        images, targets, classes = self._load(train=True)
        return (images[: self.limit], targets[: self.limit], classes) if self.limit else (images, targets, classes)

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        return self._load(train=False)

    def _load(self, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Images (N, C, H, W) uint8, targets (N,), and the names of the classes."""
        self.prepare_data()
        try:
            found = SETS[self.set_name](str(self.root), train=train, download=False)
        except (RuntimeError, FileNotFoundError) as error:
            raise FileNotFoundError(
                f"{self.set_name} is not in {self.root} ({error}); give its folder as root, or set download: true."
            ) from error
        images = getattr(found, "data", None)
        if images is None:
            images = torch.stack([F.pil_to_tensor(picture) for picture, _ in found])
        images = torch.as_tensor(images)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] in (1, 3):
            images = images.movedim(-1, 1)
        classes = tuple(map(str, getattr(found, "classes", sorted(set(map(int, found.targets))))))
        return images.contiguous(), torch.as_tensor(found.targets), classes


class NumberedNames(Sequence[str]):
    """Names that are made on access: "MNIST train image 7".

    Args:
        prefix: before the number.
        count: number of names.
    """

    def __init__(self, prefix: str, count: int) -> None:
        self.prefix, self.numbers = prefix, range(count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        return f"{self.prefix} {self.numbers[i]}"
