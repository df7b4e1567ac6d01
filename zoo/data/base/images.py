"""What all image data modules share: preprocessing, augmentation, pictures in memory or in files."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.data.base.augment import OWN, pipeline
from zoo.data.base.module import DataModule, Items
from zoo.domain import ImageDomain, open_image


class Pictures(Items):
    """A list of pictures in memory, or of files that are decoded when asked for.

    Items are {"input": (C, H, W) normalised, "target": class}, with "concepts" and "visible" (k,) if there are any, and
    "view" (C, H, W), the same picture augmented once more, if `views` is 2.

    Args:
        sources: uint8 pictures (N, C, H, W), or what gives such when indexed by a number or a list of them; or paths.
        targets: (N,) classes.
        domain: how a picture becomes an input.
        names: what the items are called.
        boxes: (N, 4) left, top, width, height in pixels, to crop files to; None for whole pictures.
        augment: name of an augmentation, see `zoo.data.base.augment`.
        concepts: (N, k) in {0, 1, NaN}, NaN where nobody annotated.
        visible: (N, k), False where the annotator saw no such part.
    """

    def __init__(
        self,
        sources: Any,
        targets: Tensor,
        domain: ImageDomain,
        names: Sequence[str],
        boxes: Tensor | None = None,
        augment: str = "none",
        concepts: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> None:
        self.views = 1
        self.sources, self.targets, self.domain, self.names, self.boxes = sources, targets, domain, names, boxes
        self.augment = pipeline(augment, domain.size)
        self.concepts, self.visible = concepts, visible

    def __getitem__(self, i: int) -> dict[str, Any]:
        views = [self.domain.preprocess(v) for v in self.augment.views(self._pixels(i), self.views)]
        return self._item(i, views[0]) | ({"view": views[1]} if self.views == 2 else {})

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """A whole batch at once; pictures in memory are made inputs together where their augmentation allows it."""
        if not self.augment.joint or not isinstance(self.sources[indices[0]], Tensor):
            return [self[i] for i in indices]
        inputs = self.domain.preprocess(self.augment.together(self.sources[indices]))
        return [self._item(i, x) for i, x in zip(indices, inputs, strict=True)]

    def _item(self, i: int, x: Tensor) -> dict[str, Any]:
        item = {"input": x, "target": int(self.targets[i])}
        known = {"concepts": self.concepts, "visible": self.visible}
        return item | {name: labels[i] for name, labels in known.items() if labels is not None}

    def picture(self, i: int) -> Any:
        """The picture as it is, before augmentation and preprocessing."""
        source = self.sources[i]
        if isinstance(source, Tensor):
            return source
        image = open_image(source)
        return image if self.boxes is None else image.crop(self._edges(i))

    def _pixels(self, i: int) -> Tensor:
        """The same as a tensor (1 or C, H', W') of uint8."""
        source = self.sources[i]
        if isinstance(source, Tensor):
            return source
        pixels = self.domain.pixels(source)
        if self.boxes is None:
            return pixels
        left, top, right, bottom = self._edges(i)
        cut = F.crop(pixels, top, left, bottom - top, right - left)
        return cut.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # dense, as a decoded picture, for the same kernels

    def _edges(self, i: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the box."""
        left, top, width, height = self.boxes[i].tolist()  # pyright: ignore[reportOptionalSubscript]
        return round(left), round(top), round(left + width), round(top + height)

    def name(self, i: int) -> str:
        """What item i is called."""
        return self.names[i]


class ImageData(DataModule):
    """The base of all image data modules; a data set defines `make_domain` and `pictures`.

    Args:
        batch_size: items a batch.
        workers: processes that load; 0 loads in the main process.
        seed: of the split into train and validation, and of the shuffles.
        val_fraction: share of the training images held out for validation, in (0, 1), from every class.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        views: 2 gives training batches a second view of each image, as "view".

    Raises:
        ValueError: an unknown augmentation, another number of views, or an augmentation of which two views are equal.
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
        super().__init__(batch_size, workers, seed, val_fraction)
        varies = pipeline(augment, (1, 1)).varies  # an unknown name is an error now, not when the first batch is loaded
        if views not in (1, 2):
            raise ValueError(f"views must be 1 or 2; got {views}.")
        if views == 2 and not varies:
            raise ValueError(
                f"two views of an image share its geometry, and augment '{augment}' draws nothing else, so they would "
                f"be equal; use augment '{next(iter(OWN))}', or views 1."
            )
        self.augment, self.views = augment, views

    def pictures(self, split: str, augment: str) -> Pictures:
        """The pictures of one official split, "train", "val" or "test".

        Raises:
            KeyError: there is no official "val" split; then a part of "train" is held out.
        """
        raise NotImplementedError("a data module of images defines pictures()")

    def items(self, split: str, training: bool) -> Pictures:
        pictures = self.pictures(split, self.augment if training else "none")
        if training and self.views == 2:
            pictures.views = 2
        return pictures
