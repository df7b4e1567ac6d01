"""The classification sets of torchvision by name."""

import inspect
import os
from functools import cached_property
from typing import Any

import torch
import torchvision.datasets
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.module import expand
from zoo.domain import ImageDomain
from zoo.utils.errors import did_you_mean


def _is_split(cls: Any) -> bool:
    if not (inspect.isclass(cls) and issubclass(cls, torchvision.datasets.VisionDataset)):
        return False
    return {"train", "download"} <= set(inspect.signature(cls).parameters)


NO_CLASSES = {"PhotoTour", "Kitti"}  # pairs of patches; boxes
SETS = {name: cls for name, cls in vars(torchvision.datasets).items() if _is_split(cls) and name not in NO_CLASSES}


class TorchvisionData(ImageData):
    """A classification set of torchvision that fits into memory and is split into train and test (MNIST, CIFAR10, ...).

    Args:
        name: of the class in torchvision.datasets.
        root: folder that holds it; by default $ZOO_DATA/<name in lower case>, or else data/<name in lower case>.
        download: fetch it if it is not there.
        size: height and width of the input in pixels; by default those of the pictures.
        limit: use no more than so many training images, the first ones; 0 for all.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the validation split and the shuffles.
        val_fraction: share of the training images held out for validation.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        views: 2 gives training batches a second view of each image, as "view".
    """

    def __init__(
        self,
        name: str,
        root: str | None = None,
        download: bool = False,
        size: tuple[int, int] | None = None,
        limit: int = 0,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        augment: str = "none",
        views: int = 1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, augment, views)
        if name not in SETS:
            near = did_you_mean(name, sorted(SETS))
            raise ValueError(f"no data set named '{name}' with a train and a test split in torchvision; {near}")
        folder = root or ("$ZOO_DATA/" if "ZOO_DATA" in os.environ else "data/") + name.lower()
        self.name, self.root, self.download, self.size, self.limit = name, expand(folder), download, size, limit

    def prepare_data(self) -> None:
        if self.download:
            for train in (True, False):
                SETS[self.name](str(self.root), train=train, download=True)

    def make_domain(self) -> ImageDomain:
        images, _, classes = self._train
        # At random, because every other picture of MNIST comes from other writers: a stride would be biased.
        some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:5000]
        scaled = images[some].float().div(255)
        size = tuple(self.size) if self.size else tuple(images.shape[-2:])
        mean, std = ([round(v, 3) for v in s.tolist()] for s in (scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))))
        return ImageDomain(classes=classes, size=size, channels=images.shape[1], mean=tuple(mean), std=tuple(std))

    def pictures(self, split: str, augment: str) -> Pictures:
        images, targets, _ = {"train": lambda: self._train, "test": lambda: self._test}[split]()
        domain = ImageDomain.from_dict(self.domain)
        return Pictures(images, targets, domain, _Numbered(f"{self.name} {split} image"), augment=augment)  # pyright: ignore

    @cached_property
    def _train(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        images, targets, classes = self._load(train=True)
        return (images[: self.limit], targets[: self.limit], classes) if self.limit else (images, targets, classes)

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        return self._load(train=False)

    def _load(self, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        self.prepare_data()
        try:
            found = SETS[self.name](str(self.root), train=train, download=False)
        except (RuntimeError, FileNotFoundError) as error:
            raise FileNotFoundError(
                f"{self.name} is not in {self.root} ({error}); give its folder as root, or set download: true."
            ) from error
        images = getattr(found, "data", None)
        if images is None:
            images = torch.stack([F.pil_to_tensor(picture) for picture, _ in found])
        images = torch.as_tensor(images)
        images = (
            images[:, None] if images.ndim == 3 else images.movedim(-1, 1) if images.shape[-1] in (1, 3) else images
        )
        classes = tuple(map(str, getattr(found, "classes", sorted(set(map(int, found.targets))))))
        return images.contiguous(), torch.as_tensor(found.targets), classes


class _Numbered:
    """Names made when asked for: "MNIST train image 7"."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __getitem__(self, i: int) -> str:
        return f"{self.prefix} {i}"
