"""A small vector renderer of birds, whose shapes can each be left out.

Shapes are painted at four times the size and averaged. Each shape is painted in its own number, so that one canvas
gives both the colours and the visible parts.
"""

from collections.abc import Iterator, Sequence
from math import cos, sin

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zoo.data.synthetic.bird_scenes import Scenes
from zoo.data.synthetic.bird_shapes import (
    GLYPHS,
    OBJECT_COLOURS,
    OBJECTS,
    ORDER,
    PARTS,
    TRUNK,
    TRUNK_SHAPES,
    Colour,
    Points,
    Shape,
)

FINER = 4  # factor by which pictures are painted larger before they are averaged
OBJECT, GROUND = 6, 255  # owners of shapes that are not part of the bird, see `_canvases`


def render(scenes: Scenes, side: int) -> tuple[Tensor, Tensor]:
    """Pictures, and where each part is visible.

    Returns:
        Pictures (N, 3, side, side) uint8, and (N, side, side) uint8, whose bit p is set where part p, or the trunk
        (bit 5), is visible in any share of the pixel.
    """
    pictures = np.empty((len(scenes), 3, side, side), np.uint8)
    bits = np.empty((len(scenes), side, side), np.uint8)
    for i, (canvas, colours, owners) in enumerate(_canvases(scenes, side)):
        seen = canvas.point([1 << owner if owner <= TRUNK else 0 for owner in owners] + [0] * (256 - len(owners)))
        bits[i] = _any_bits(np.asarray(seen))
        canvas.putpalette([value for colour in colours for value in colour])
        pictures[i] = np.asarray(canvas.convert("RGB").reduce(FINER)).transpose(2, 0, 1)
    return torch.from_numpy(pictures), torch.from_numpy(bits)


def objects_seen(scenes: Scenes, side: int) -> Tensor:
    """(N, M, side, side) bool: where each object of the background is visible, in any share of the pixel."""
    seen = torch.zeros(len(scenes), scenes.objects.shape[1], side, side, dtype=torch.bool)
    for i, (canvas, _, owners) in enumerate(_canvases(scenes, side)):
        fine = np.asarray(canvas).reshape(side, FINER, side, FINER)
        for number, owner in enumerate(owners):
            if OBJECT <= owner < GROUND:
                seen[i, owner - OBJECT] = torch.from_numpy((fine == number).any((1, 3)))
    return seen


def _any_bits(fine: np.ndarray) -> np.ndarray:
    """(side, side) uint8, the bits set anywhere in the FINER x FINER points (4 side, 4 side) of each pixel."""
    words = fine.view(np.uint32).reshape(-1, FINER, fine.shape[1] // FINER)  # four neighbouring points at once
    words = words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]
    words |= words >> 16
    return (words | words >> 8).astype(np.uint8)


def _canvases(scenes: Scenes, side: int) -> Iterator[tuple[Image.Image, list[Colour], list[int]]]:
    """For each scene: the visible shape's number at each point of the finer grid; colour and owner of each number.

    Owners are 0 to 4 for the parts, TRUNK, OBJECT and up for the objects, and GROUND.
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
