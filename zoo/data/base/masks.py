"""Masks of what is relevant in pictures, as users draw them, and files of them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.data.base.augment import Augmentation
from zoo.domain import ImageDomain, open_image
from zoo.domain.image import FORMATS
from zoo.utils.paths import find_files

SHOWN = 5  # faults that a message lists
MARKED = 128  # grey level from which a pixel of a mask is relevant


class Masks(Protocol):
    """Gives the mask of picture i, (1, H', W') uint8 of its size, 255 where relevant, else 0; None if it has none."""

    def __getitem__(self, i: int) -> Tensor | None: ...


class FileMasks:
    """Masks in image files, white where relevant.

    Args:
        paths: one for each picture; None for a picture without a mask.
    """

    def __init__(self, paths: Sequence[Path | None]) -> None:
        self.paths = list(paths)

    def __getitem__(self, i: int) -> Tensor | None:
        path = self.paths[i]
        return None if path is None else read_mask(path)

    def digest(self, rows: Sequence[int]) -> str:
        """SHA-256 of the files of some pictures."""
        found = hashlib.sha256()
        for path in (self.paths[i] for i in rows):
            found.update(b"none" if path is None else hashlib.sha256(path.read_bytes()).digest())
        return found.hexdigest()


def read_mask(path: Path) -> Tensor:
    """(1, H', W') uint8 in {0, 255} of an image file: 255 where it is at least half as light as white.

    Raises:
        FileNotFoundError, ValueError: see `zoo.domain.open_image`.
    """
    grey = F.pil_to_tensor(open_image(path).convert("L"))
    return (grey >= MARKED).to(torch.uint8) * 255


def moved_mask(mask: Tensor | None, augment: Augmentation, draws: Tensor, domain: ImageDomain) -> Tensor:
    """A mask as it lies on an augmented input: (H, W) in {0, 1}; NaN without one, or if nothing of it is left.

    Args:
        mask: (1, H', W') uint8, or None.
        augment: of the picture; steps of single views, which move it by a few pixels at most, are not followed.
        draws: the state of the random numbers before the picture was augmented, from which the mask is moved equally.
        domain: of the inputs.
    """
    unknown = torch.full(tuple(domain.size), torch.nan)
    if mask is None:
        return unknown
    with torch.random.fork_rng(devices=()):
        torch.set_rng_state(draws)
        moved = augment.geometry(mask)
    moved = F.pil_to_tensor(moved) if isinstance(moved, Image.Image) else moved
    relevant = (domain.fit(moved)[0] >= MARKED).float()
    return relevant if bool(relevant.any()) else unknown


def find_masks(folder: Path, root: Path, images: Mapping[str, Sequence[Path]]) -> dict[str, FileMasks]:
    """The masks in a folder: that of the image root/a/b.jpg is folder/a/b.png. Images may have none.

    Args:
        folder: with PNG files.
        root: folder of the images.
        images: paths by split.

    Raises:
        FileNotFoundError: no such folder, or no mask in it.
        ValueError: a mask belongs to no image or to two, has another size than its image, cannot be read or marks
            nothing; or no training image has a mask.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of masks at {folder}; give it as data.init_args.masks.")
    masks = {path.relative_to(folder).with_suffix(""): path for path in find_files(folder, {".png"})}
    if not masks:
        raise FileNotFoundError(f"{folder} has no masks; the mask of {root.name}/a/b.jpg is {folder.name}/a/b.png.")
    owners: dict[Path, list[Path]] = {}
    for path in (path for paths in images.values() for path in paths if path.is_relative_to(root)):
        owners.setdefault(path.relative_to(root).with_suffix(""), []).append(path)
    faults = [fault for name, path in masks.items() if (fault := _fault_of(path, owners.get(name, [])))]
    if faults:
        raise ValueError(
            f"{folder}: {len(faults)} masks do not fit ({'; '.join(faults[:SHOWN])}). A mask is a PNG with the name "
            f"and the size of its image, white where relevant: that of {root.name}/a/b.jpg is {folder.name}/a/b.png."
        )
    of_image = {owners[name][0]: path for name, path in masks.items()}
    found = {split: FileMasks([of_image.get(path) for path in paths]) for split, paths in images.items()}
    if not any(found["train"].paths):
        raise ValueError(f"{folder} has {len(masks)} masks, but none of a training image; add some.")
    return found


def _fault_of(path: Path, images: Sequence[Path]) -> str:
    """Describes why a mask is not that of its image, "" if it is."""
    if len(images) != 1:
        owner = f"{len(images)} images: {' and '.join(image.name for image in images)}" if images else "no image"
        return f"{path.name} has the name of {owner}"
    try:
        mask = read_mask(path)
    except ValueError as error:
        return str(error)
    with Image.open(path, formats=FORMATS) as image:
        if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):  # white or black, it would be a guess
            return f"{path.name} has transparent pixels, which say neither"
    with Image.open(images[0], formats=FORMATS) as image:
        width, height = ImageOps.exif_transpose(image).size if image.getexif() else image.size
    if tuple(mask.shape[1:]) != (height, width):
        return f"{path.name} has {mask.shape[1]} x {mask.shape[2]} pixels, its image {height} x {width}"
    return "" if bool(mask.any()) else f"{path.name} marks nothing"
