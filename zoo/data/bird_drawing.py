"""Birds made of parts: a small vector renderer whose every shape can be left out.

Shapes are polygons and discs in the bird's own coordinates (its body is an ellipse of half-axes 1 and 0.62 around the
origin, it looks to the right, y points down), painted four times too large and averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

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
TRUNK = (disc(0.0, 0.0, 1.0, 0.62, BODY), disc(0.92, -0.6, 0.44, 0.42, BODY))
ORDER = ("tail", "foot", None, "beak", "wing", "eye")  # from back to front; None is the trunk
OBJECTS: tuple[Points, ...] = (  # of the background, of radius 1
    [(cos(2 * pi * i / 20), sin(2 * pi * i / 20)) for i in range(20)],
    [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    [(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)],
    [(-1.0, -0.35), (1.0, -0.35), (1.0, 0.35), (-1.0, 0.35)],
    [(cos(2 * pi * i / 6), sin(2 * pi * i / 6)) for i in range(6)],
)
OBJECT_COLOURS: tuple[Colour, ...] = ((92, 148, 110), (186, 160, 104), (104, 128, 168), (170, 112, 116))
BITS = np.zeros(256, np.uint8)  # by the number of what is seen, see `_numbers`
BITS[1 : len(PARTS) + 1] = 1 << np.arange(len(PARTS))


@dataclass(frozen=True)
class Scene:
    """One picture as numbers.

    Attributes:
        glyphs: which of its kind each part is, in the order of PARTS; -1 for none.
        place: x, y of the body's centre, length of one unit, all as shares of the side; angle; 1 or -1, where it looks.
        objects: (n, 6) of the background: shape, colour, x, y, radius (shares of the side), angle; shape -1 for none.
        ground: colour of the background.
    """

    glyphs: Sequence[int]
    place: Sequence[float]
    objects: np.ndarray
    ground: Colour


def paint(scene: Scene, side: int) -> np.ndarray:
    """(side, side, 3) uint8."""
    canvas = Image.new("RGB", (side * FINER, side * FINER), scene.ground)
    draw = ImageDraw.Draw(canvas)
    for points, colour, _ in _layers(scene, side * FINER):
        draw.polygon(points, fill=colour)
    return np.asarray(canvas.reduce(FINER))


def visible(scene: Scene, side: int) -> np.ndarray:
    """(side, side) uint8: bit p is set where part p is seen, be it of a share of the pixel."""
    seen = BITS[_numbers(scene, side)].reshape(side, FINER, side, FINER)
    return np.bitwise_or.reduce(np.bitwise_or.reduce(seen, 3), 1)


def visible_objects(scene: Scene, side: int) -> np.ndarray:
    """(n, side, side) bool: where each object of the background is seen."""
    seen = _numbers(scene, side).reshape(side, FINER, side, FINER)
    return np.stack([(seen == 100 + i).any((1, 3)) for i in range(len(scene.objects))])


def _numbers(scene: Scene, side: int) -> np.ndarray:
    """The number of what is seen at each point of the finer grid: 1 to 5 the parts, 100 and on the objects."""
    canvas = Image.new("L", (side * FINER, side * FINER), 0)
    draw = ImageDraw.Draw(canvas)
    for points, _, number in _layers(scene, side * FINER):
        draw.polygon(points, fill=number)
    return np.asarray(canvas)


def _layers(scene: Scene, size: int) -> list[tuple[list[tuple[float, float]], Colour, int]]:
    """Polygons in pixels with their colours and numbers, from back to front."""
    layers = []
    for i, (shape, colour, x, y, radius, angle) in enumerate(scene.objects.tolist()):
        if shape >= 0:
            placed = _placed(OBJECTS[int(shape)], x * size, y * size, radius * size, angle, 1)
            layers.append((placed, OBJECT_COLOURS[int(colour)], 100 + i))
    x, y, unit, angle, facing = scene.place
    for part in ORDER:
        number = 0 if part is None else PARTS.index(part) + 1
        glyph = None if part is None else scene.glyphs[number - 1]
        shapes = TRUNK if part is None or glyph is None else GLYPHS[part][glyph] if glyph >= 0 else ()
        for shape in shapes:
            layers.append((_placed(shape.points, x * size, y * size, unit * size, angle, facing), shape.colour, number))
    return layers


def _placed(points: Points, x: float, y: float, unit: float, angle: float, facing: float) -> list[tuple[float, float]]:
    c, s = unit * cos(angle), unit * sin(angle)
    return [(x + facing * (c * u - s * v), y + s * u + c * v) for u, v in points]
