"""Pictures of birds as numbers: which parts, where, and in front of which objects."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import pi

import torch
from torch import Tensor

from zoo.data.synthetic.bird_shapes import OBJECT_COLOURS, OBJECTS, PARTS

BACKGROUND = "background"  # all objects at once; "background 3" is one of them


@dataclass(frozen=True)
class Scenes:
    """N pictures as numbers.

    Attributes:
        glyphs: (N, 5) int64, the variant of each part, in the order of PARTS; -1 if the part is missing.
        place: (N, 5) float64: x and y of the body's centre and length of one unit, as shares of the side; angle in
            radians; 1 if the bird looks to the right, -1 if to the left.
        objects: (N, M, 6) float64, objects of the background: shape (-1 for none), colour, x, y and radius as shares of
            the side, angle in radians.
        ground: (N, 3) uint8, colour of the background.
    """

    glyphs: Tensor
    place: Tensor
    objects: Tensor
    ground: Tensor

    def __getitem__(self, rows: list[int]) -> "Scenes":
        return Scenes(self.glyphs[rows], self.place[rows], self.objects[rows], self.ground[rows])

    def __len__(self) -> int:
        return len(self.glyphs)

    def without(self, names: Collection[str]) -> "Scenes":
        """The same scenes without some parts, without all objects ("background") or without one ("background 3")."""
        parts = torch.tensor([part in names for part in PARTS])
        numbers = range(1, self.objects.shape[1] + 1)
        gone = torch.tensor([BACKGROUND in names or f"{BACKGROUND} {i}" in names for i in numbers], dtype=torch.bool)
        objects = self.objects.clone()
        objects[:, gone, 0] = -1
        return replace(self, glyphs=self.glyphs.masked_fill(parts, -1), objects=objects)


def random_scenes(glyphs: Tensor, background: int, generator: torch.Generator) -> Scenes:
    """Birds with given parts at random positions, before up to `background` random objects.

    Args:
        glyphs: (N, 5), see `Scenes`.
        background: largest number of objects.
        generator: of all randomness.
    """
    size = (len(glyphs), background)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(*size, generator=generator, dtype=torch.float64)

    def numbers(high: int, *size: int) -> Tensor:
        return torch.randint(high, size, generator=generator)

    x, y = uniform(0.4, 0.6, 2, size[0])
    unit, angle, facing = uniform(0.15, 0.21, size[0]), uniform(-0.45, 0.45, size[0]), 2 * numbers(2, size[0]) - 1
    there = torch.arange(background) < numbers(background + 1, size[0], 1)
    shape = numbers(len(OBJECTS), *size).masked_fill(~there, -1)
    where, radius = uniform(0, 1, 2, *size), uniform(0.04, 0.11, *size)
    objects = torch.stack([shape, numbers(len(OBJECT_COLOURS), *size), *where, radius, uniform(0, pi, *size)], 2)
    ground = (205 + numbers(31, size[0], 3)).to(torch.uint8)
    return Scenes(glyphs, torch.stack([x, y, unit, angle, facing], 1), objects, ground)
