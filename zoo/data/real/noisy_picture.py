"""One noisy picture: all the data of a model that removes noise from it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from zoo.data.base.items import Items
from zoo.data.base.module import DataModule
from zoo.data.synthetic.noise import add_noise, phantom
from zoo.domain import ImageDomain
from zoo.domain.image import MOST_PIXELS, open_image
from zoo.utils.checks import check_at_least
from zoo.utils.errors import did_you_mean

SAMPLES = {"china": "china.jpg", "flower": "flower.jpg"}  # of scikit-learn


class Repeated(Items):
    """One picture, as often as a training has steps.

    Args:
        noisy: (C, H, W).
        clean: (C, H, W), the target, or NaN.
        name: of the picture.
        count: how often.
    """

    def __init__(self, noisy: Tensor, clean: Tensor, name: str, count: int) -> None:
        self.noisy, self.clean, self.title, self.count = noisy, clean, name, count

    def __len__(self) -> int:
        return self.count

    @property
    def targets(self) -> Tensor:  # pyright: ignore
        """(N, C H W) the values of the clean picture."""
        return self.clean.flatten().expand(self.count, -1)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.noisy, "target": self.clean.flatten()}

    def name(self, i: int) -> str:
        """Name of the picture."""
        return self.title


class NoisyPicture(DataModule):
    """One noisy picture, for models that learn from it alone, without a clean one.

    The picture is your own file, noisy as it is; or a clean one to which noise is added: a file, "sample:china" or
    "sample:flower" of scikit-learn, or "phantom", which is drawn. Where a clean picture is known it is the target of
    the metrics (PSNR and mean squared error), never of the training; else these are NaN. Noisy pictures are rounded to
    256 values, as in a file.

    Args:
        path: the picture, see above.
        noise: kind of noise to add, see `zoo.data.synthetic.noise.add_noise`; "" for a picture that is noisy.
        level: of the noise.
        clean: file of the clean picture, if `path` is noisy and one is known.
        size: sides (height, width) to which a picture is cut around its middle; by default all of a file, and 64 of a
            phantom.
        shrink: how many times smaller a picture becomes before it is cut, which removes noise that it came with.
        colour: whether the picture has three channels.
        steps: steps of an epoch, each on the complete picture.
        seed: of the noise, and of a phantom.
        batch_size: 1, because there is one picture.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: an unknown sample, a clean picture of another size, or a picture that is too large.
    """

    def __init__(
        self,
        path: str,
        noise: str = "",
        level: float = 0.1,
        clean: str | None = None,
        size: tuple[int, int] | None = None,
        shrink: int = 1,
        colour: bool = False,
        steps: int = 20,
        seed: int = 0,
        batch_size: int = 1,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, **loading)
        check_at_least(1, shrink=shrink, steps=steps)
        if batch_size != 1:
            raise ValueError(f"there is one picture, so batch_size must be 1; got {batch_size}.")
        if clean is not None and noise:
            raise ValueError("give `clean` for a picture that is noisy as it is, or `noise` to add some, not both.")
        self.path, self.noise, self.level, self.clean, self.shrink = path, noise, level, clean, shrink
        self.size, self.colour, self.steps = None if size is None else (size[0], size[1]), colour, steps

    def make_domain(self) -> ImageDomain:
        channels, height, width = self._pictures[0].shape
        return ImageDomain(
            classes=(),
            task="regression",
            size=(height, width),
            channels=channels,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            restored=True,
        )

    def items(self, split: str, training: bool) -> Repeated:
        noisy, clean = self._pictures
        name = Path(self.path).name
        return Repeated(noisy, clean, name, self.steps if split == "train" else 1)

    @cached_property
    def _pictures(self) -> tuple[Tensor, Tensor]:
        """The noisy and the clean picture (C, H, W) in [0, 1], the second NaN if it is not known."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.path == "phantom":
            side = self.size or (64, 64)
            drawn = phantom(max(side), 3 if self.colour else 1, torch.Generator().manual_seed(self.seed + 1))
            found = cut(drawn, side)
        else:
            found = self._read(self.path)
        if self.noise:
            noisy, clean = add_noise(found, self.noise, self.level, generator), found
        else:
            noisy, clean = found, torch.full_like(found, torch.nan) if self.clean is None else self._read(self.clean)
        if clean.shape != noisy.shape:
            raise ValueError(
                f"the clean picture has the shape {tuple(clean.shape)}, the noisy one {tuple(noisy.shape)}."
            )
        return noisy.mul(255).round().clamp(0, 255).div(255), clean

    def _read(self, path: str) -> Tensor:
        """A picture in [0, 1]."""
        kind, _, name = path.partition(":")
        if kind == "sample":
            if name not in SAMPLES:
                raise ValueError(f"scikit-learn has no sample picture '{name}'; {did_you_mean(name, SAMPLES)}")
            from sklearn.datasets import load_sample_image  # takes a second, and few need it

            image = Image.fromarray(load_sample_image(SAMPLES[name]))
        else:
            image = open_image(path)
        image = image.convert("RGB" if self.colour else "L")
        if self.shrink > 1:
            smaller = (max(image.width // self.shrink, 1), max(image.height // self.shrink, 1))
            image = image.resize(smaller, Image.Resampling.BOX)
        height, width = self.size or (image.height, image.width)
        if len(image.getbands()) * height * width > MOST_PIXELS:
            raise ValueError(
                f"{path} has {height} x {width} pixels, too many to restore at once (at most {MOST_PIXELS:,} values); "
                "give `size` to cut it, or `shrink`."
            )
        left, top = (image.width - width) // 2, (image.height - height) // 2
        if left < 0 or top < 0:
            raise ValueError(
                f"size must be at most that of the picture; got {height} x {width} for {image.height} x {image.width}."
            )
        image = image.crop((left, top, left + width, top + height))
        raw = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return raw.view(height, width, -1).permute(2, 0, 1).float() / 255


def cut(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (C, height, width) of a picture."""
    top, left = ((side - wanted) // 2 for side, wanted in zip(picture.shape[1:], size, strict=True))
    return picture[:, top : top + size[0], left : left + size[1]]
