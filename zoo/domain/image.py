"""Images: conversion of files and pixels to tensors and back."""

import math
import struct
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from zoo.domain.base import Domain
from zoo.utils.paths import check_file

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
MOST_PIXELS = 1 << 18  # values of a picture to restore, each of which has a name
ENLARGED = 8  # times, above which an image is too small to be what the model was trained on
UNREADABLE = (  # what Pillow raises
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error),
    Image.DecompressionBombError,
)


Source = str | Path | bytes  # an image file, or its content


@dataclass(frozen=True, kw_only=True)
class ImageDomain(Domain):
    """Images of one size, as tensors (C, H, W).

    Attributes:
        size: height and width in pixels that the model reads.
        channels: 1 (grey), 3 (RGB), or the number of stacked grey images; files are read into 1 or 3 only.
        mean: of each channel, in [0, 1]; the tensor is (pixel / 255 - mean) / std.
        std: of each channel, on the same scale.
        resize: "squash": resize to `size`, ignoring the aspect ratio; "crop": scale the short side to
            `size / crop_fraction`, then crop the centre.
        crop_fraction: used by "crop" only, in (0, 1].
        restored: whether the values to predict are those of all pixels, in [0, 1]: C H W classes, channel by channel
            and row by row, which need not be named.

    Raises:
        ValueError: sizes, channels or numbers out of range, or an unknown choice.
    """

    modality: ClassVar[str] = "image"
    noun: ClassVar[str] = "images"
    endings: ClassVar[frozenset[str]] = frozenset(
        {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
    )
    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: str = "squash"
    crop_fraction: float = 1.0
    restored: bool = False

    def __post_init__(self) -> None:
        if self.restored:
            self._name_pixels()
        super().__post_init__()
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1; got {self.channels}.")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std need one number for each of {self.channels} channels; got {len(self.mean)} and "
                f"{len(self.std)}."
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0; got {self.std}.")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be (height, width) in pixels; got {self.size}.")
        if self.resize not in ("squash", "crop"):
            raise ValueError(f"resize must be 'squash' or 'crop'; got '{self.resize}'.")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction must be in (0, 1]; got {self.crop_fraction}.")

    def _name_pixels(self) -> None:
        """Names the values to predict, unless they are named."""
        if self.task != "regression":
            raise ValueError(f"the task of pictures to restore is 'regression'; got '{self.task}'.")
        count = self.channels * math.prod(self.size)
        if not 0 < count <= MOST_PIXELS:
            raise ValueError(f"a picture to restore has 1 to {MOST_PIXELS:,} values; got {count:,}. Crop or resize it.")
        if not self.classes:
            object.__setattr__(self, "classes", pixel_names(self.channels, *self.size))
        if len(self.classes) != count:
            raise ValueError(f"a picture to restore of {count} values needs as many names; got {len(self.classes)}.")

    def to_dict(self) -> dict[str, Any]:
        named = self.restored and self.classes == pixel_names(self.channels, *self.size)
        return {**super().to_dict(), **({"classes": []} if named else {})}

    @property
    def default_target(self) -> int:
        """Of a picture to restore, the pixel in the middle."""
        return self.size[0] // 2 * self.size[1] + self.size[1] // 2 if self.restored else super().default_target

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    def raw(self, path: str | Path) -> Tensor:
        """The same as `pixels`."""
        return self.pixels(path)

    def warnings(self, raw: Image.Image | Tensor, x: Tensor) -> list[str]:
        height, width = raw.shape[-2:] if isinstance(raw, Tensor) else raw.size[::-1]
        found = []
        if self.size[0] > ENLARGED * height or self.size[1] > ENLARGED * width:
            found.append(
                f"The image has {height} × {width} pixels, which are enlarged to {self.size[0]} × {self.size[1]}."
            )
        if bool((x == x[:, :1, :1]).all()):
            found.append("All pixels of the image are equal.")
        return found

    def pixels(self, path: Source) -> Tensor:
        """Reads the pixels (1 or C, H', W') of an image file, or of its content, without preprocessing, uint8.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a readable image, or inputs do not have 1 or 3 channels.
        """
        decoded = _decoded(path, ("L", "RGB")[: self.channels])
        return self._to_tensor(open_image(path)) if decoded is None or self.channels not in (1, 3) else decoded

    def preprocess(self, picture: Image.Image | Tensor) -> Tensor:
        """Converts a PIL image or a uint8 tensor (..., 1 or 3 or C, H', W') to an input (..., C, H, W).

        Raises:
            ValueError: a PIL image where inputs do not have 1 or 3 channels.
        """
        if isinstance(picture, Image.Image):
            picture = self._to_tensor(picture)
        if picture.shape[-3] != self.channels:
            picture = F.rgb_to_grayscale(picture) if self.channels == 1 else F.grayscale_to_rgb(picture)
        return self.normalise(self.fit(picture).contiguous())  # files come channels last, which batches are not

    def normalise(self, picture: Tensor) -> Tensor:
        """Normalises a uint8 tensor (..., C, H, W) of the right size."""
        return F.normalize(F.to_dtype(picture, torch.float32, scale=True), list(self.mean), list(self.std))

    def picture(self, x: Tensor) -> Tensor:
        """Converts inputs (..., C, H, W) back to pixels, uint8."""
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (x.float() * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)

    def _to_tensor(self, image: Image.Image) -> Tensor:
        if self.channels not in (1, 3):
            raise ValueError(
                f"an image file has 1 or 3 channels, and these inputs have {self.channels}; stack {self.channels} grey "
                "images into a uint8 tensor instead."
            )
        mode = "L" if self.channels == 1 else "RGB"
        return F.pil_to_tensor(image if image.mode == mode else image.convert(mode))

    def fit(self, picture: Tensor) -> Tensor:
        """Brings a tensor (..., C, H', W') to the size of inputs, as `resize` says.

        Raises:
            ValueError: it is to be restored, and has another size.
        """
        if self.restored and tuple(picture.shape[-2:]) != self.size:  # resized, its noise would be another
            raise ValueError(
                f"the model restores pictures of {self.size[0]} x {self.size[1]} pixels; got {picture.shape[-2]} x "
                f"{picture.shape[-1]}. Fit a model to this picture, or cut it."
            )
        uncropped = self.resize == "squash" or self.crop_fraction == 1
        if uncropped and tuple(picture.shape[-2:]) == self.size:
            return picture
        if self.resize == "squash":
            return F.resize(picture, list(self.size), v2.InterpolationMode.BILINEAR, antialias=True)
        scale = max(self.size[0] / picture.shape[-2], self.size[1] / picture.shape[-1]) / self.crop_fraction
        scaled = [max(round(n * scale), s) for n, s in zip(picture.shape[-2:], self.size, strict=True)]
        return F.center_crop(F.resize(picture, scaled, v2.InterpolationMode.BILINEAR, antialias=True), list(self.size))


@cache
def pixel_names(channels: int, height: int, width: int) -> tuple[str, ...]:
    """Names of the values of a picture, channel by channel and row by row."""
    colours = {1: ("",), 3: (", red", ", green", ", blue")}
    endings = colours.get(channels) or tuple(f", channel {c + 1}" for c in range(channels))
    return tuple(
        f"row {y + 1}, column {x + 1}{ending}" for ending in endings for y in range(height) for x in range(width)
    )


def open_image(path: Source) -> Image.Image:
    """Opens an image file upright (EXIF) and opaque (transparency over white), as mode "L" or "RGB".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, or is damaged.
    """
    if not isinstance(path, bytes):
        check_file(Path(path), "image file")
    try:
        with _open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except UNREADABLE as error:
        name = "the content" if isinstance(path, bytes) else path
        raise ValueError(
            f"{name} cannot be read as an image ({error}). Convert it to PNG or JPEG, or leave it out."
        ) from error
    if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion clips instead of scaling
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.mode or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")


def _open(path: Source) -> Image.Image:
    """Opens a regular file of a known format; Pillow would start Ghostscript for an EPS, whatever its name.

    Raises:
        OSError, SyntaxError, ValueError: see `UNREADABLE`.
    """
    if isinstance(path, bytes):
        return Image.open(BytesIO(path), formats=FORMATS)
    check_file(Path(path), "image file")
    return Image.open(path, formats=FORMATS)


def _decoded(path: Source, modes: tuple[str, ...]) -> Tensor | None:
    """Decodes a JPEG of one of these modes that is stored upright, without Pillow; None for all other files.

    Pillow and torchvision use the same library, so the pixels are the same.
    """
    try:
        with _open(path) as image:  # reads the header only
            mode = image.mode if image.format == "JPEG" and image.mode in modes else ""
            if not mode or image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
                return None
        wanted = ImageReadMode.GRAY if mode == "L" else ImageReadMode.RGB
        content = torch.frombuffer(bytearray(path), dtype=torch.uint8) if isinstance(path, bytes) else None
        found = decode_jpeg(read_file(str(path)) if content is None else content, wanted)
        return found if isinstance(found, Tensor) else None  # a list if given a list
    except (*UNREADABLE, RuntimeError, AttributeError):  # `open_image` reads it, or says what is wrong
        return None


def fault_of(path: str | Path) -> str:
    """Describes what is wrong with an image file, "" if nothing: decodes all of it, a JPEG at an eighth of its size."""
    try:
        with _open(path) as image:
            image.draft("L", (1, 1))
            image.load()
    except UNREADABLE as error:
        return str(error) or type(error).__name__
    return ""
