"""Caltech-UCSD Birds 200-2011 in its official folder layout, or a subset in the same layout."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from zoo.data.base.images import ImageData, Pictures
from zoo.data.real.cub_concepts import Attributes, read_attributes
from zoo.data.real.cub_parts import Parts, part_boxes, parts_of, read_parts
from zoo.domain import ImageDomain
from zoo.utils.checks import check_between, check_choice
from zoo.utils.paths import expand


class CUB(ImageData):
    """CUB-200-2011 with the official split, cropped to the annotated bounding boxes or not.

    Args:
        root: folder with images.txt, classes.txt, ...; by default $ZOO_DATA/CUB_200_2011, or else $ZOO_DATA/cub50.
        concepts: "none"; "class": attributes of the bird's class; "image": attributes annotated in the image itself,
            see `zoo.data.real.cub_concepts.read_attributes`; "visible": as "class", but absent where no part that the
            attribute is of is visible in the image, see `zoo.data.real.cub_parts.PARTS_OF`.
        box_crop: crop every image to its bounding box, in training and in the test.
        size: height and width of the input in pixels.
        mean: per channel, on the scale 0 to 1, as the backbone expects; ImageNet's by default.
        std: per channel, likewise.
        batch_size: items per batch.
        workers: number of loading processes.
        augment: augmentation of the training images, see `zoo.data.base.augment`.
        part_side: side of the squares around parts in which `concept_crops` finds concepts, as a share of the side of a
            square as large as the bird's bounding box.
        **loading: the other options of `ImageData`.

    Raises:
        ValueError: an argument is out of range, or no folder is given.
        FileNotFoundError: the folder is not that of CUB-200-2011.
    """

    def __init__(
        self,
        root: str | None = None,
        concepts: str = "none",
        box_crop: bool = True,
        size: tuple[int, int] = (224, 224),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        batch_size: int = 80,
        workers: int = 2,
        augment: str = "protopnet",
        part_side: float = 0.35,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, workers=workers, augment=augment, **loading)
        check_choice(("none", "class", "image", "visible"), concepts=concepts)
        check_between(0.01, 2, part_side=part_side)
        self.part_side = part_side
        self.root, self.concepts = _find_root(root), concepts
        self.box_crop, self.size, self.mean, self.std = box_crop, size, mean, std

    def make_domain(self) -> ImageDomain:
        names = [text.split(".", 1)[-1].replace("_", " ") for text in self._column("classes.txt")]
        found = self._attributes
        return ImageDomain(
            classes=tuple(names),
            concepts=() if found is None else found.names,
            concept_groups={} if found is None else found.groups,
            size=(self.size[0], self.size[1]),
            mean=tuple(self.mean),
            std=tuple(self.std),
        )

    def pictures(self, split: str, augment: str) -> Pictures:
        rows = self._rows_in(split)
        files = [self._files[i] for i in rows]
        boxes = self._boxes[rows] if self.box_crop else None
        paths = [self.root / "images" / file for file in files]
        labels, visible = (None, None) if self._attributes is None else self._attributes[2:]
        return Pictures(
            paths,
            self._targets[rows],
            self.make_domain(),
            files,
            boxes,
            augment,
            concepts=None if labels is None else labels[rows],
            visible=None if visible is None else visible[rows],
        )

    def parts(self, split: str) -> Parts:
        """Locations of the annotated parts in the image files of a split, in the order of `pictures(split, ...)`."""
        found = read_parts(self.root, len(self._files))
        return Parts(found.names, found.places[self._rows_in(split)])

    def concept_boxes(self, split: str) -> torch.Tensor:
        """See `ImageData`: around the visible parts of each present attribute; attributes of the whole bird have none.

        Raises:
            ValueError: `concepts` is "none".
            FileNotFoundError: there are no locations of parts.
        """
        if self._attributes is None:
            raise ValueError("boxes of concepts need concepts; set concepts to 'class', 'image' or 'visible'.")
        rows = self._rows_in(split)
        sides = self.part_side * self._boxes[rows, 2:].prod(1).sqrt()
        boxes = part_boxes(self.parts(split), self._attributes.names, sides)
        if self.box_crop:
            boxes[..., :2] -= self._boxes[rows, None, :2].round()
            beyond = (boxes[..., :2] >= self._boxes[rows, None, 2:] - 1) | (boxes[..., :2] + boxes[..., 2:] <= 1)
            boxes = boxes.masked_fill(beyond.any(2, keepdim=True), torch.nan)
        return boxes.masked_fill((self._attributes.labels[rows] != 1)[..., None], torch.nan)

    def _rows_in(self, split: str) -> list[int]:
        wanted = {"train": True, "test": False}[split]
        return [i for i, train in enumerate(self._is_train) if train == wanted]

    @cached_property
    def _attributes(self) -> Attributes | None:
        if self.concepts == "none":
            return None
        found = read_attributes(self.root, self._targets, "class" if self.concepts == "visible" else self.concepts)
        if self.concepts != "visible":
            return found
        parts = read_parts(self.root, len(self._files))
        seen = part_boxes(parts, found.names, torch.ones(len(self._files))).isfinite().all(2)  # (N, k)
        seen |= torch.tensor([not parts_of(name) for name in found.names])
        return found._replace(labels=found.labels * seen)

    @cached_property
    def _files(self) -> list[str]:
        return self._column("images.txt")

    @cached_property
    def _is_train(self) -> list[bool]:
        return [flag == "1" for flag in self._column("train_test_split.txt", len(self._files))]

    @cached_property
    def _targets(self) -> torch.Tensor:
        return torch.tensor([int(c) - 1 for c in self._column("image_class_labels.txt", len(self._files))])

    @cached_property
    def _boxes(self) -> torch.Tensor:
        rows = self._column("bounding_boxes.txt", len(self._files))
        return torch.tensor([[float(v) for v in row.split()] for row in rows])

    def _column(self, file: str, rows: int | None = None) -> list[str]:
        """The text after the number in each line of an official file."""
        path = self.root / file
        if not path.is_file():
            raise FileNotFoundError(f"{self.root} has no {file}; it is not the complete CUB-200-2011 folder.")
        column = [line.split(maxsplit=1)[1] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if rows is not None and len(column) != rows:
            raise ValueError(f"{path} has {len(column)} lines, but images.txt has {rows}; unpack the data set again.")
        return column


def _find_root(root: str | None) -> Path:
    if root is not None:
        tried = [expand(root)]
    elif "ZOO_DATA" in os.environ:
        tried = [expand("$ZOO_DATA") / name for name in ("CUB_200_2011", "cub50")]
    else:
        raise ValueError("CUB needs its folder: give data.init_args.root, or set the environment variable ZOO_DATA.")
    for folder in tried:
        if (folder / "images.txt").is_file():
            return folder
    raise FileNotFoundError(
        f"no images.txt in {' or '.join(map(str, tried))}; give the folder that CUB_200_2011.tgz unpacks to."
    )
