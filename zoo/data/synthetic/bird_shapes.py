"""The shapes of birds and of the objects behind them, as polygons.

Coordinates are those of the bird: its body is an ellipse with half-axes 1 and 0.62 around the origin, it looks to the
right, and y points down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

PARTS = ("beak", "eye", "foot", "tail", "wing")
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
TRUNK = 5  # follows the numbers of the parts
ORDER = (*map(PARTS.index, ("tail", "foot")), TRUNK, *map(PARTS.index, ("beak", "wing", "eye")))  # from back to front
OBJECTS: tuple[Points, ...] = (  # shapes of the background, of radius 1
    [(cos(2 * pi * i / 20), sin(2 * pi * i / 20)) for i in range(20)],
    [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    [(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)],
    [(-1.0, -0.35), (1.0, -0.35), (1.0, 0.35), (-1.0, 0.35)],
    [(cos(2 * pi * i / 6), sin(2 * pi * i / 6)) for i in range(6)],
)
OBJECT_COLOURS: tuple[Colour, ...] = ((92, 148, 110), (186, 160, 104), (104, 128, 168), (170, 112, 116))
