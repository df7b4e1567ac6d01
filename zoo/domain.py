"""What the inputs and outputs of a model mean: class names, preprocessing, raw file to tensor and back.

A domain is made by a data module, kept in the model's hyper-parameters as plain data, and travels with the
checkpoint, so that a loaded model reads raw files and names its answers with no data set at hand.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from zoo.hints import hint


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What every domain knows, whatever the modality.

    Attributes:
        classes: names of the scores' columns, in order: the classes, or the regression targets.
        concepts: names of annotated concepts, where the data has them.
        task: "classification" (one of the classes) or "regression" (a value for each).
    """

    modality: ClassVar[str] = ""
    classes: tuple[str, ...]
    concepts: tuple[str, ...] = ()
    task: str = "classification"

    def __post_init__(self) -> None:
        for f in fields(self):  # YAML and JSON know lists only
            if isinstance(value := getattr(self, f.name), list):
                object.__setattr__(self, f.name, tuple(value))
        if not self.classes:
            raise ValueError("a domain needs at least one class name; got none.")
        if len(set(self.classes)) < len(self.classes):
            twice = next(c for c in self.classes if self.classes.count(c) > 1)
            raise ValueError(f"class names must differ; '{twice}' is there more than once.")
        if self.task not in ("classification", "regression"):
            raise ValueError(f"task must be 'classification' or 'regression'; got '{self.task}'.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input tensor, without the batch dimension."""
        raise NotImplementedError("a domain defines the shape of its inputs")

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError: `x` is no tensor, or not of a floating-point type.
            ValueError: wrong rank, shape, an empty batch, or NaN or infinite values.
        """
        raise NotImplementedError("a domain checks its inputs")

    def read(self, path: str | Path) -> Tensor:
        """Reads one raw file into an input tensor without batch dimension."""
        raise NotImplementedError("a domain reads its raw files")

    def class_index(self, target: int | str) -> int:
        """Column of a class given by name or number.

        Raises:
            ValueError: there is no such class; the message names the nearest one or the valid range.
        """
        if isinstance(target, str):
            if target not in self.classes:
                raise ValueError(f"no class named '{target}'; {hint(target, self.classes)}")
            return self.classes.index(target)
        if not 0 <= target < len(self.classes):
            raise ValueError(
                f"target {target} is out of range; there are {len(self.classes)} classes, 0 to {len(self.classes) - 1}."
            )
        return int(target)

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `from_dict` makes an equal domain."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"modality": self.modality, **plain}

    @staticmethod
    def from_dict(plain: "Mapping[str, Any] | Domain") -> "Domain":
        """The domain that `to_dict` described.

        Raises:
            ValueError: unknown modality or key.
        """
        if isinstance(plain, Domain):
            return plain
        kinds = {kind.modality: kind for kind in Domain.__subclasses__()}
        arguments = dict(plain)
        modality = arguments.pop("modality", None)
        if modality not in kinds:
            raise ValueError(f"unknown modality {modality!r} of a domain; known: {', '.join(kinds)}.")
        known = [f.name for f in fields(kinds[modality])]
        for key in arguments:
            if key not in known:
                raise ValueError(f"a domain of {modality}s has no key '{key}'; {hint(key, known)}")
        return kinds[modality](**arguments)


@dataclass(frozen=True, kw_only=True)
class ImageDomain(Domain):
    """Images of one size: how a picture becomes a tensor (C, H, W), and how it comes back.

    Attributes:
        size: height and width in pixels that the model reads.
        channels: 1 (grey) or 3 (RGB).
        mean, std: per channel, on the scale 0 to 1; the tensor is (pixel / 255 - mean) / std.
        resize: "squash" to `size` whatever the aspect ratio, or "crop": scale the short side to
            `size / crop_fraction`, then cut the centre.
        crop_fraction: used by "crop" only, in (0, 1].
    """

    modality: ClassVar[str] = "image"
    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: str = "squash"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB); got {self.channels}.")
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

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    def check(self, x: Tensor, model: str) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{model} expects a tensor; got {type(x).__name__}. Read files with `domain.read(path)`.")
        wanted = f"{model} expects images (B, {', '.join(map(str, self.shape))})"
        if tuple(x.shape[-3:]) == self.shape and x.ndim == 3:
            raise ValueError(f"{wanted}; got {tuple(x.shape)}. Add a batch dimension: x[None].")
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"{wanted}; got {tuple(x.shape)}. `domain.read(path)` brings a file into this shape.")
        if not x.is_floating_point():
            raise TypeError(
                f"{wanted} of a floating-point type; got {x.dtype}. `domain.preprocess(picture)` scales and "
                "normalises pixels."
            )
        if len(x) == 0:
            raise ValueError(f"{wanted} with B >= 1; got an empty batch.")
        if not bool(torch.isfinite(x).all()):
            rows = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"{model} got NaN or infinite pixels in image {rows[0]} of the batch ({len(rows)} of {len(x)} "
                "images); clean the input first."
            )

    def read(self, path: str | Path) -> Tensor:
        """Reads an image file of any mode and size into a tensor (C, H, W).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no readable image.
        """
        return self.preprocess(open_image(path))

    def preprocess(self, picture: Image.Image | Tensor) -> Tensor:
        """A PIL image or a uint8 tensor (..., 1 or 3, H', W') as a normalised input (..., C, H, W)."""
        if isinstance(picture, Image.Image):
            picture = F.pil_to_tensor(picture.convert("L" if self.channels == 1 else "RGB"))
        if picture.shape[-3] != self.channels:
            picture = F.rgb_to_grayscale(picture) if self.channels == 1 else F.grayscale_to_rgb(picture)
        return self.normalise(self._fit(picture))

    def normalise(self, picture: Tensor) -> Tensor:
        """A uint8 tensor (..., C, H, W) of the right size as a normalised input."""
        return F.normalize(F.to_dtype(picture, torch.float32, scale=True), list(self.mean), list(self.std))

    def picture(self, x: Tensor) -> Tensor:
        """Inputs (..., C, H, W) as the pixels they were made from, uint8."""
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (x.float() * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)

    def _fit(self, picture: Tensor) -> Tensor:
        if tuple(picture.shape[-2:]) == self.size:
            return picture
        if self.resize == "squash":
            return F.resize(picture, list(self.size), v2.InterpolationMode.BILINEAR, antialias=True)
        scale = max(self.size[0] / picture.shape[-2], self.size[1] / picture.shape[-1]) / self.crop_fraction
        scaled = [max(round(n * scale), s) for n, s in zip(picture.shape[-2:], self.size, strict=True)]
        return F.center_crop(F.resize(picture, scaled, v2.InterpolationMode.BILINEAR, antialias=True), list(self.size))


def open_image(path: str | Path) -> Image.Image:
    """Opens an image file upright (EXIF) and opaque (transparency over white), as mode "L" or "RGB".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}.")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}). Convert it to PNG or JPEG, or leave it out."
        ) from error
    if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion clips instead of scaling
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.mode or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")
