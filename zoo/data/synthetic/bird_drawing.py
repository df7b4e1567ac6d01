"""Birds made of parts: a small vector renderer whose every shape can be left out.

Shapes are polygons and discs in the bird's own coordinates (its body is an ellipse of half-axes 1 and 0.62 around the
origin, it looks to the right, y points down), painted four times too large and averaged. Each is painted in a number of
its own, so that one canvas says both the colours and what is seen where.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

PARTS = ("beak", "eye", "foot", "tail", "wing")
FINER = 4  # how much larger birds are painted before they are averaged
Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

ORANGE, RED, YELLOW, BLUE = (238, 134, 32), (208, 40, 44), (248, 208, 40), (40, 92, 200)
GREEN, WHITE, BLACK, PURPLE = (36, 148, 76), (250, 250, 250), (16, 16, 18), (140, 56, 160)
BROWN, PINK, CYAN, BODY = (120, 72, 30), (244, 130, 178), (70, 190, 214), (150, 142, 132)


@dataclass(frozen=True)
class Shape:
    """A filled polygon."""

    points: Points
    colour: Colour


def disc(x: float, y: float, across: float, down: float, colour: Colour) -> Shape:
    """An ellipse as a polygon."""
    turns = [2 * pi * i / 24 for i in range(24)]
    return Shape([(x + across * cos(t), y + down * sin(t)) for t in turns], colour)


def _legs(width: float, toes: float, colour: Colour) -> tuple[Shape, ...]:
    """Two legs with feet."""
    legs = []
    for x in (-0.2, 0.3):
        legs.append(Shape([(x - width, 0.45), (x + width, 0.45), (x + width, 1.15), (x - width, 1.15)], colour))
        legs.append(Shape([(x - 0.5 * toes, 1.22), (x + toes, 1.22), (x, 0.98)], colour))
    return tuple(legs)


def _tails() -> list[tuple[Shape, ...]]:
    shapes = (
        [(-0.8, -0.2), (-1.75, -0.62), (-1.95, 0.0), (-1.75, 0.55), (-0.8, 0.22)],  # a fan
        [(-0.8, -0.22), (-1.95, -0.72), (-1.45, 0.0), (-1.95, 0.66), (-0.8, 0.22)],  # a fork
        [(-0.8, -0.2), (-2.15, -0.1), (-2.15, 0.14), (-0.8, 0.24)],  # a pole
    )
    return [(Shape(points, colour),) for points in shapes for colour in (RED, BLUE, GREEN)]


def _wings() -> list[tuple[Shape, ...]]:
    pointed = [(0.42, -0.28), (0.3, 0.2), (-0.85, 0.5), (-0.5, 0.0)]
    feathers = [
        (0.4, -0.3),
        (0.45, 0.1),
        (0.1, 0.05),
        (0.1, 0.42),
        (-0.25, 0.12),
        (-0.3, 0.5),
        (-0.7, 0.1),
        (-0.3, -0.3),
    ]
    return [
        (make,)
        for colour in (WHITE, PURPLE)
        for make in (disc(-0.12, 0.06, 0.5, 0.3, colour), Shape(pointed, colour), Shape(feathers, colour))
    ]


GLYPHS: dict[str, list[tuple[Shape, ...]]] = {
    "beak": [
        (Shape([(1.2, -0.82), (1.2, -0.42), (1.68, -0.6)], ORANGE),),  # short
        (Shape([(1.2, -0.74), (1.2, -0.5), (2.1, -0.58)], RED),),  # long
        (Shape([(1.18, -0.84), (1.7, -0.72), (1.74, -0.28), (1.5, -0.5), (1.2, -0.42)], YELLOW),),  # hooked
        (Shape([(1.2, -0.76), (1.85, -0.72), (1.9, -0.5), (1.2, -0.4)], BLUE),),  # broad
    ],
    "eye": [
        (disc(1.0, -0.7, 0.21, 0.21, WHITE), disc(1.04, -0.7, 0.1, 0.1, BLACK)),
        (disc(1.0, -0.7, 0.22, 0.22, BLACK), disc(1.0, -0.7, 0.12, 0.12, YELLOW)),
        (disc(1.0, -0.7, 0.25, 0.13, RED),),
    ],
    "foot": [_legs(0.05, 0.24, ORANGE), _legs(0.13, 0.3, BROWN), _legs(0.05, 0.5, PINK), _legs(0.1, 0.16, CYAN)],
    "tail": _tails(),
    "wing": _wings(),
}
CARDINALITIES = tuple(len(GLYPHS[part]) for part in PARTS)
TRUNK_SHAPES = (disc(0.0, 0.0, 1.0, 0.62, BODY), disc(0.92, -0.6, 0.44, 0.42, BODY))
TRUNK, OBJECT, GROUND = 5, 6, 255  # owners of shapes that are no parts, see `_canvases`
ORDER = (*map(PARTS.index, ("tail", "foot")), TRUNK, *map(PARTS.index, ("beak", "wing", "eye")))  # from back to front
OBJECTS: tuple[Points, ...] = (  # of the background, of radius 1
    [(cos(2 * pi * i / 20), sin(2 * pi * i / 20)) for i in range(20)],
    [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    [(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)],
    [(-1.0, -0.35), (1.0, -0.35), (1.0, 0.35), (-1.0, 0.35)],
    [(cos(2 * pi * i / 6), sin(2 * pi * i / 6)) for i in range(6)],
)
OBJECT_COLOURS: tuple[Colour, ...] = ((92, 148, 110), (186, 160, 104), (104, 128, 168), (170, 112, 116))
BACKGROUND = "background"  # all objects at once; "background 3" is one of them


@dataclass(frozen=True)
class Scenes:
    """N pictures as numbers.

    Attributes:
        glyphs: (N, 5) int64, which of its kind each part is, in the order of PARTS; -1 for none.
        place: (N, 5) float64, x and y of the body's centre, length of one unit, all as shares of the side; angle; 1 or
            -1, where it looks.
        objects: (N, M, 6) float64, of the background: shape, colour, x, y, radius (shares of the side), angle; shape
            -1 for none.
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
        """The same scenes without some parts, all objects ("background") or one of them ("background 3")."""
        parts = torch.tensor([part in names for part in PARTS])
        numbers = range(1, self.objects.shape[1] + 1)
        gone = torch.tensor([BACKGROUND in names or f"{BACKGROUND} {i}" in names for i in numbers], dtype=torch.bool)
        objects = self.objects.clone()
        objects[:, gone, 0] = -1
        return replace(self, glyphs=self.glyphs.masked_fill(parts, -1), objects=objects)


def render(scenes: Scenes, side: int) -> tuple[Tensor, Tensor]:
    """Pictures and what is seen in them.

    Returns:
        (N, 3, side, side) uint8; (N, side, side) uint8, whose bit p is set where part p is seen, be it of a share of
        the pixel.
    """
    pictures = np.empty((len(scenes), 3, side, side), np.uint8)
    bits = np.empty((len(scenes), side, side), np.uint8)
    for i, (canvas, colours, owners) in enumerate(_canvases(scenes, side)):
        seen = canvas.point([1 << owner if owner < len(PARTS) else 0 for owner in owners] + [0] * (256 - len(owners)))
        bits[i] = _any_bits(np.asarray(seen))
        canvas.putpalette([value for colour in colours for value in colour])
        pictures[i] = np.asarray(canvas.convert("RGB").reduce(FINER)).transpose(2, 0, 1)
    return torch.from_numpy(pictures), torch.from_numpy(bits)


def objects_seen(scenes: Scenes, side: int) -> Tensor:
    """(N, M, side, side) bool: where each object of the background is seen, be it of a share of the pixel."""
    seen = torch.zeros(len(scenes), scenes.objects.shape[1], side, side, dtype=torch.bool)
    for i, (canvas, _, owners) in enumerate(_canvases(scenes, side)):
        fine = np.asarray(canvas).reshape(side, FINER, side, FINER)
        for number, owner in enumerate(owners):
            if OBJECT <= owner < GROUND:
                seen[i, owner - OBJECT] = torch.from_numpy((fine == number).any((1, 3)))
    return seen


def _any_bits(fine: np.ndarray) -> np.ndarray:
    """(side, side) uint8, the bits set anywhere in the FINER x FINER points (4 side, 4 side) of each pixel."""
    words = fine.view(np.uint32).reshape(-1, FINER, fine.shape[1] // FINER)  # four points beside each other at once
    words = words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]
    words |= words >> 16
    return (words | words >> 8).astype(np.uint8)


def _canvases(scenes: Scenes, side: int) -> Iterator[tuple[Image.Image, list[Colour], list[int]]]:
    """Of each scene the numbers of what is seen on the finer grid, and of each number its colour and its owner.

    Owners are 0 to 4 the parts, TRUNK, OBJECT and on the objects, GROUND.
    """
    size = side * FINER
    scene = zip(*(part.tolist() for part in (scenes.glyphs, scenes.place, scenes.objects, scenes.ground)), strict=True)
    for glyphs, place, objects, ground in scene:
        canvas = Image.new("L", (size, size), 0)
        draw, colours, owners = ImageDraw.Draw(canvas), [tuple(ground)], [GROUND]
        for points, colour, owner in _layers(glyphs, place, objects, size):
            draw.polygon(points, fill=len(owners))
            colours.append(colour)
            owners.append(owner)
        yield canvas, colours, owners


def _layers(
    glyphs: Sequence[int], place: Sequence[float], objects: Sequence[Sequence[float]], size: int
) -> Iterator[tuple[list[tuple[float, float]], Colour, int]]:
    """Polygons in pixels with their colours and owners, from back to front."""
    for i, (shape, colour, x, y, radius, angle) in enumerate(objects):
        if shape >= 0:
            points = _placed(OBJECTS[int(shape)], x * size, y * size, radius * size, angle, 1)
            yield points, OBJECT_COLOURS[int(colour)], OBJECT + i
    x, y, unit, angle, facing = place
    for owner in ORDER:
        shapes = TRUNK_SHAPES if owner == TRUNK else _shapes(PARTS[owner], glyphs[owner])
        for shape in shapes:
            yield _placed(shape.points, x * size, y * size, unit * size, angle, facing), shape.colour, owner


def _shapes(part: str, glyph: int) -> tuple[Shape, ...]:
    return GLYPHS[part][glyph] if glyph >= 0 else ()


def _placed(points: Points, x: float, y: float, unit: float, angle: float, facing: float) -> list[tuple[float, float]]:
    c, s = unit * cos(angle), unit * sin(angle)
    return [(x + facing * (c * u - s * v), y + s * u + c * v) for u, v in points]
