"""Augmentations of training pictures by name. They act on pixels, before the preprocessing that all pictures share."""

from collections.abc import Callable
from typing import Any

from torchvision.transforms import v2

from zoo.hints import hint


class Augmentation:
    """A named pipeline; `changes` tells whether it does anything."""

    def __init__(self, steps: list[Callable[[Any], Any]]) -> None:
        self.changes = bool(steps)
        self.steps = v2.Compose(steps) if steps else None

    def __call__(self, picture: Any) -> Any:
        return self.steps(picture) if self.steps else picture


def none(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Nothing."""
    return []


def flip(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Left and right exchanged, half of the time."""
    return [v2.RandomHorizontalFlip()]


def shift(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Small moves, turns and changes of scale: for digits, whose mirror images are none."""
    return [v2.RandomAffine(8, translate=(0.08, 0.08), scale=(0.92, 1.08), interpolation=v2.InterpolationMode.BILINEAR)]


def crop(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """A random part of at least 60 % of the picture, scaled to the input's size, perhaps flipped."""
    return [v2.RandomResizedCrop(list(size), (0.6, 1.0), antialias=True), v2.RandomHorizontalFlip()]


def protopnet(size: tuple[int, int]) -> list[Callable[[Any], Any]]:
    """Rotation, skew, shear, flip: what Chen et al. (NeurIPS 2019) made offline, here drawn anew in every epoch."""
    one = v2.RandomChoice(
        [
            v2.RandomAffine(15, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomPerspective(0.2, p=1.0),
            v2.RandomAffine(0, shear=(-10, 10), interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    return [v2.Resize(list(size), antialias=True), one, v2.RandomHorizontalFlip()]


PIPELINES = {f.__name__: f for f in (none, flip, shift, crop, protopnet)}


def pipeline(name: str, size: tuple[int, int]) -> Augmentation:
    """The augmentation of that name for inputs of `size` (height, width).

    Raises:
        ValueError: there is none.
    """
    if name not in PIPELINES:
        raise ValueError(f"no augmentation named '{name}'; {hint(name, PIPELINES)}")
    return Augmentation(PIPELINES[name](size))
