"""The base of image data modules, and pictures in memory or in files as items."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.data.base.augment import PER_VIEW, pipeline
from zoo.data.base.concept_crops import ConceptCrops
from zoo.data.base.items import Items
from zoo.data.base.masks import Masks, moved_mask
from zoo.data.base.module import DataModule
from zoo.domain import ImageDomain, open_image
from zoo.utils.checks import check_between

CROPPED_MASKS = "masks are of whole pictures, and concept_crops crops these; leave one of the two out."


class Pictures(Items):
    """Pictures in memory, or in files that are decoded on access.

    Items are {"input": (C, H, W) normalised, "target": class}, with "concepts" and "visible" (k,) where given, and
    "view" (C, H, W), a second augmented view of the same picture, if `views` is 2. "mirrored" is True if the view is
    the mirror image of the input. Where `masks` are given, "relevant" (H, W) in {0, 1} is what a user marked as
    relevant in the picture, moved with it by its augmentation; NaN throughout where nothing is marked.

    Args:
        sources: uint8 pictures (N, C, H, W), or an object that returns them when indexed by a number or a list of
            numbers; or paths.
        targets: (N,) classes.
        domain: preprocesses the pictures.
        names: N names.
        boxes: (N, 4) left, top, width, height in pixels, to which files are cropped; None for no cropping.
        augment: name of an augmentation, see `zoo.data.base.augment`.
        concepts: (N, k) in {0, 1, NaN}, NaN where not annotated.
        visible: (N, k), False where the annotator marked the part as not visible.
        masks: what is relevant in each picture, see `zoo.data.base.masks`.
        digest: hash of the pictures and their names, if it is known; see `zoo.data.base.fingerprint`.
        crops: crops pictures to concepts before they are augmented; None for not.
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
        masks: Masks | None = None,
        digest: str | None = None,
        crops: ConceptCrops | None = None,
    ) -> None:
        self.views, self.digest, self.masks = 1, digest, masks
        self.sources, self.targets, self.domain, self.names, self.boxes = sources, targets, domain, names, boxes
        self.augment = pipeline(augment, domain.size)
        self.concepts, self.visible, self.crops = concepts, visible, crops

    def __getitem__(self, i: int) -> dict[str, Any]:
        pixels, shown = self._pixels(i), {}
        if self.crops is not None and self.concepts is not None:
            pixels, labels = self.crops(i, pixels, self.concepts[i])
            shown = {"concepts": labels}
        draws = None if self.masks is None else torch.get_rng_state()
        views = [self.domain.preprocess(v) for v in self.augment.views(pixels, self.views)]
        mirrored = {"mirrored": True} if self.augment.mirrors else {}
        if draws is not None:
            shown["relevant"] = self._relevant(i, draws)
        return self._item(i, views[0]) | shown | ({"view": views[1], **mirrored} if self.views == 2 else {})

    def _relevant(self, i: int, draws: Tensor) -> Tensor:
        """(H, W), the mask of picture i after the augmentation that began in the state `draws` of random numbers."""
        mask = None if self.masks is None else self.masks[i]
        if mask is not None and self.boxes is not None:
            mask = _cropped(mask, self.boxes[i])
        return moved_mask(mask, self.augment, draws, self.domain)

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """A batch of items; pictures in memory are preprocessed together where their augmentation allows it."""
        alone = self.masks is not None or self.crops is not None or not self.augment.joint
        if alone or not isinstance(self.sources[indices[0]], Tensor):
            return [self[i] for i in indices]
        inputs = self.domain.preprocess(self.augment.together(self.sources[indices]))
        return [self._item(i, x) for i, x in zip(indices, inputs, strict=True)]

    def _item(self, i: int, x: Tensor) -> dict[str, Any]:
        item = {"input": x, "target": int(self.targets[i])}
        optional = {"concepts": self.concepts, "visible": self.visible}
        return item | {name: labels[i] for name, labels in optional.items() if labels is not None}

    def picture(self, i: int) -> Any:
        """Picture i before augmentation and preprocessing: a uint8 tensor (C, H', W') or a PIL image."""
        source = self.sources[i]
        if isinstance(source, Tensor):
            return source
        image = open_image(source)
        return image if self.boxes is None else image.crop(_edges(self.boxes[i]))

    def _pixels(self, i: int) -> Tensor:
        """The same as a tensor (1 or C, H', W') of uint8."""
        source = self.sources[i]
        if isinstance(source, Tensor):
            return source
        pixels = self.domain.pixels(source)
        if self.boxes is None:
            return pixels
        cut = _cropped(pixels, self.boxes[i])
        return cut.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # dense, as a decoded picture, for the same kernels

    def name(self, i: int) -> str:
        """Name of item i."""
        return self.names[i]


def _cropped(pixels: Tensor, box: Tensor) -> Tensor:
    left, top, right, bottom = _edges(box)
    return F.crop(pixels, top, left, bottom - top, right - left)


def _edges(box: Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels of a box (4,) of left, top, width and height."""
    left, top, width, height = box.tolist()
    return round(left), round(top), round(left + width), round(top + height)


class ImageData(DataModule):
    """The base of all image data modules; a subclass defines `make_domain` and `pictures`.

    Args:
        batch_size, workers, seed, val_fraction: see `DataModule`.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        views: 2 adds a second view of each image to training batches, as "view".
        concept_crops: probability that a training image is cropped to the box of one of its concepts, see
            `zoo.data.base.concept_crops.ConceptCrops`; needs data with boxes of concepts.
        smallest_crop: shortest side of such a crop, as a share of that of the image.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: unknown augmentation, another number of views, or an augmentation whose two views would be equal.
    """

    def __init__(
        self,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        augment: str = "none",
        views: int = 1,
        concept_crops: float = 0.0,
        smallest_crop: float = 0.0,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, **loading)
        check_between(0, 1, concept_crops=concept_crops, smallest_crop=smallest_crop)
        varies = pipeline(augment, (1, 1)).varies  # refuses an unknown name now, not in the first batch
        if views not in (1, 2):
            raise ValueError(f"views must be 1 or 2; got {views}.")
        if views == 2 and not varies:
            raise ValueError(
                f"the two views of an image share its geometry, and augment '{augment}' changes nothing else, so the "
                f"views would be equal; use augment '{next(iter(PER_VIEW))}' or 'mirror', or views 1."
            )
        self.augment, self.views, self.concept_crops, self.smallest_crop = augment, views, concept_crops, smallest_crop

    def pictures(self, split: str, augment: str) -> Pictures:
        """The pictures of one official split.

        Args:
            split: "train", "val" or "test".
            augment: name of an augmentation.

        Raises:
            KeyError: there is no official "val" split; a part of "train" is held out instead.
        """
        raise NotImplementedError("a data module of images defines pictures()")

    def concept_boxes(self, split: str) -> Tensor:
        """Boxes (N, k, 4) of the concepts, in the order of `pictures(split, ...)`: left, top, width and height.

        In pixels of the pictures before augmentation; NaN where a concept is absent or has no box.

        Raises:
            ValueError: this data has none.
        """
        raise ValueError(
            f"{type(self).__name__} has no boxes of concepts; set concept_crops to 0, or use ImageFolder with "
            "concept_boxes."
        )

    def items(self, split: str, training: bool) -> Pictures:
        pictures = self.pictures(split, self.augment if training else "none")
        if training and self.concept_crops:
            if pictures.masks is not None:
                raise ValueError(CROPPED_MASKS)
            p, crops = pictures, ConceptCrops(self.concept_boxes(split), self.concept_crops, self.smallest_crop)
            given = p.sources, p.targets, p.domain, p.names, p.boxes, self.augment, p.concepts, p.visible
            pictures = Pictures(*given, digest=p.digest, crops=crops)
        if training and self.views == 2:
            pictures.views = 2
        return pictures
