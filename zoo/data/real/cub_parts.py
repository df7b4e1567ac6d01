"""Locations of the annotated parts of CUB-200-2011, to check where a model looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Parts(NamedTuple):
    """Parts of N images.

    Attributes:
        names: of the P parts, such as "left eye".
        places: (N, P, 2) x and y in pixels of the image file; NaN where the part is not visible.
    """

    names: tuple[str, ...]
    places: Tensor

    def within(self, boxes: Tensor) -> Tensor:
        """(N, P, 2) x and y as shares in [0, 1] of boxes (N, 4: left, top, width, height); NaN outside the box."""
        shares = (self.places - boxes[:, None, :2]) / boxes[:, None, 2:]
        inside = ((shares >= 0) & (shares <= 1)).all(-1, keepdim=True)
        return shares.masked_fill(~inside, torch.nan)


PARTS_OF = {  # attributes by what they are of; those of the whole bird have no part
    "back": ("back",),
    "belly": ("belly",),
    "bill": ("beak",),
    "breast": ("breast",),
    "crown": ("crown",),
    "eye": ("left eye", "right eye"),
    "forehead": ("forehead",),
    "head": ("crown", "forehead", "left eye", "right eye"),
    "leg": ("left leg", "right leg"),
    "nape": ("nape",),
    "throat": ("throat",),
    "tail": ("tail",),
    "under tail": ("tail",),
    "upper tail": ("tail",),
    "underparts": ("belly", "breast"),
    "upperparts": ("back",),
    "wing": ("left wing", "right wing"),
}


def parts_of(attribute: str) -> tuple[str, ...]:
    """The parts that an attribute such as "upper tail color: brown" is of; none of the whole bird."""
    return PARTS_OF.get(attribute.split(":")[0].rsplit(" ", 1)[0], ())


def part_boxes(parts: Parts, attributes: Sequence[str], sides: Tensor) -> Tensor:
    """Boxes around the visible parts that attributes are of.

    Args:
        parts: of N images.
        attributes: k names.
        sides: (N,) of the square around each part, in pixels.

    Returns:
        (N, k, 4) left, top, width and height in pixels of the image file; NaN where no part of the attribute is
        visible, and of attributes of the whole bird.
    """
    found = parts.places.new_full((len(parts.places), len(attributes), 4), torch.nan)
    for j, attribute in enumerate(attributes):
        columns = [parts.names.index(name) for name in parts_of(attribute) if name in parts.names]
        if columns:
            places = parts.places[:, columns]  # (N, n, 2)
            unseen = places.isnan()
            low = places.masked_fill(unseen, torch.inf).amin(1) - sides[:, None] / 2
            high = places.masked_fill(unseen, -torch.inf).amax(1) + sides[:, None] / 2
            boxes = torch.cat([low, high - low], 1)
            found[:, j] = boxes.masked_fill(~boxes.isfinite().all(1, keepdim=True), torch.nan)
    return found


def read_parts(root: Path, images: int) -> Parts:
    """Reads parts/parts.txt and parts/part_locs.txt of an official folder.

    Args:
        root: the folder.
        images: number of images in it.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: they do not fit the images.
    """
    files = [root / "parts" / name for name in ("parts.txt", "part_locs.txt")]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; it is part of the complete CUB-200-2011 folder.")
    lines = files[0].read_text(encoding="utf-8").splitlines()
    names = tuple(line.split(maxsplit=1)[1].strip() for line in lines if line.strip())
    table = np.loadtxt(files[1], ndmin=2)  # image and part from 1, x, y, visible
    if table.shape != (images * len(names), 5):
        raise ValueError(
            f"{files[1]} has {len(table)} lines; expected {images} images x {len(names)} parts = "
            f"{images * len(names)}, with 5 numbers in each. Unpack the data set again."
        )
    table = torch.from_numpy(table[np.lexsort((table[:, 1], table[:, 0]))]).float().view(images, len(names), 5)
    return Parts(names, table[..., 2:4].masked_fill(table[..., 4:] == 0, torch.nan))
