"""The user's own images: folders by class, with or without folders by split, or a CSV that lists them."""

from functools import cached_property
from typing import Any

import torch

from zoo.data.base.concept_crops import read_boxes
from zoo.data.base.concept_table import Concepts, read_concepts, warn_of_constants
from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.masks import FileMasks, find_masks
from zoo.data.base.sampling import stratified_split
from zoo.data.real.image_lists import ImagesBySplit, check_images, read_csv, read_folders
from zoo.domain import ImageDomain
from zoo.utils.paths import expand


class ImageFolder(ImageData):
    """Images in folders: root/<class>/*.png, or root/train/<class>/..., root/val/..., root/test/..., or a CSV.

    Without val, a part of train is held out; without test, 20 % of every class. All images are checked before training
    starts. Links to folders are followed.

    Args:
        root: the folder; paths in the CSV are relative to it.
        csv: a table with the columns path, label and optionally split (train, val or test).
        concepts: a table with the column path and one column per concept: 1, 0, or empty where not annotated. It may be
            the same file as `csv`.
        concept_groups: names of concepts by group, or a CSV with the columns concept and group.
        exclusive: groups of which exactly one concept is present in every image.
        concept_boxes: a table with the columns path, concept, left, top, width and height in pixels: where the concepts
            are, for `concept_crops`. Concepts without boxes are never cropped to.
        size: height and width of the input in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: per channel, on the scale 0 to 1, as the backbone expects; 0.5 by default.
        std: per channel, likewise.
        resize: "squash" or "crop", see `zoo.domain.ImageDomain`.
        masks: folder with masks of what is relevant in images, for losses that use them: that of root/a/b.jpg is
            a/b.png, of the same size, white where relevant; images may have none.
        **loading: the options of `ImageData`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        csv: str | None = None,
        concepts: str | None = None,
        concept_groups: str | dict[str, list[str]] | None = None,
        exclusive: list[str] | None = None,
        concept_boxes: str | None = None,
        size: tuple[int, int] = (224, 224),
        channels: int = 3,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        resize: str = "squash",
        masks: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB); got {channels}.")
        if not concepts and (concept_groups or exclusive or concept_boxes):
            raise ValueError(
                "concept_groups, exclusive and concept_boxes need concepts; give their table as "
                "data.init_args.concepts."
            )
        self.root = expand(root)
        self.csv, self.concepts = expand(csv) if csv else None, expand(concepts) if concepts else None
        self.concept_groups = expand(concept_groups) if isinstance(concept_groups, str) else concept_groups
        self.exclusive, self.boxes = exclusive or [], expand(concept_boxes) if concept_boxes else None
        self.masks = expand(masks) if masks else None
        self.size, self.channels, self.resize = size, channels, resize
        self.mean, self.std = mean or [0.5] * channels, std or [0.5] * channels

    def make_domain(self) -> ImageDomain:
        found = self._concepts
        return ImageDomain(
            classes=self._classes,
            concepts=() if found is None else found.names,
            concept_groups={} if found is None else found.groups,
            exclusive=tuple(self.exclusive),
            size=(self.size[0], self.size[1]),
            channels=self.channels,
            mean=tuple(self.mean),
            std=tuple(self.std),
            resize=self.resize,
        )

    def pictures(self, split: str, augment: str) -> Pictures:
        images = self._images[split]
        targets = torch.tensor([self._classes.index(image.label) for image in images])
        paths = [image.path for image in images]
        names = [str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name for path in paths]
        concepts, masks = self._concept_labels.get(split), self._masks.get(split)
        return Pictures(paths, targets, self.make_domain(), names, augment=augment, concepts=concepts, masks=masks)

    @cached_property
    def _masks(self) -> dict[str, FileMasks]:
        """Masks by split; empty without masks."""
        paths = {split: [image.path for image in images] for split, images in self._images.items()}
        return {} if self.masks is None else find_masks(self.masks, self.root, paths)

    def concept_boxes(self, split: str) -> torch.Tensor:
        """See `ImageData`; the table is read here.

        Raises:
            ValueError: there is no table of boxes, or it is wrong.
        """
        if self.boxes is None or self._concepts is None:
            raise ValueError("concept_crops needs boxes; give their table as data.init_args.concept_boxes.")
        return read_boxes(self.boxes, self.root, [image.path for image in self._images[split]], self._concepts.names)

    @cached_property
    def _concepts(self) -> Concepts | None:
        """Concepts of all images, split after split."""
        if self.concepts is None:
            return None
        files = [image.path for images in self._images.values() for image in images]
        return read_concepts(self.concepts, self.root, files, self.concept_groups, self.exclusive)

    @cached_property
    def _concept_labels(self) -> dict[str, torch.Tensor]:
        """Concepts (N, k) by split; empty without concepts."""
        if self.concepts is None or self._concepts is None:
            return {}
        parts = self._concepts.labels.split([len(images) for images in self._images.values()])
        found = dict(zip(self._images, parts, strict=True))
        warn_of_constants(self.concepts, self._concepts.names, found["train"])
        return found

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        return tuple(sorted({image.label for image in self._images["train"]}))

    @cached_property
    def _images(self) -> ImagesBySplit:
        if not self.root.is_dir():
            raise FileNotFoundError(f"no image folder at {self.root}; give the folder as data.init_args.root.")
        images = read_csv(self.csv, self.root) if self.csv else read_folders(self.root)
        check_images(images, self.csv or self.root)
        if "test" not in images:
            train = images["train"]
            classes = sorted({image.label for image in train})
            targets = torch.tensor([classes.index(image.label) for image in train])
            kept, held = stratified_split(targets, 0.2, self.seed)
            images |= {"train": [train[i] for i in kept], "test": [train[i] for i in held]}
        return images
