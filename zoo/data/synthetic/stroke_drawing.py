"""Random digits in ten stroke fonts, drawn by the distance of each pixel to the nearest stroke."""

import torch
from torch import Tensor

from zoo.data.synthetic.stroke_fonts import font_table

SIDE = 28
UNIT = 9.0  # half the height of a glyph, in pixels of a picture of SIDE
CHUNK = 512  # digits drawn at once, so that the buffers fit into the processor's cache

# Uniform from the first to the second number; lengths in pixels of a picture of SIDE, angles in radians.
TURN, SHEAR, SCALE, SHIFT = (-0.2, 0.2), (-0.15, 0.15), (0.85, 1.1), (-2.0, 2.0)
WIDTH, BLUR = (1.8, 3.4), (0.5, 1.2)


def draw_digits(labels: Tensor, generator: torch.Generator, side: int = SIDE) -> Tensor:
    """Digits (N, 1, side, side), uint8, white on black, for labels (N,) of 0 to 9.

    Font, rotation, shear, width, height, position, stroke width and blur of each digit are random. The brightness of a
    pixel falls linearly with its distance to the nearest stroke: 127.5 at the edge of the stroke, 0 one blur further.

    Raises:
        ValueError: labels outside 0 to 9, no labels, or a side below 8.
    """
    if labels.ndim != 1 or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        found = labels.unique().tolist()[:12]
        raise ValueError(f"labels must be (N,) digits of 0 to 9; got shape {tuple(labels.shape)} with values {found}.")
    if side < 8:
        raise ValueError(f"digits are legible from a side of 8 pixels on; got {side}.")
    segments, counts = font_table()
    fonts = torch.randint(len(segments), labels.shape, generator=generator)
    turn, shear, across, down, x, y, width, blur = (
        torch.rand(len(labels), generator=generator) * (high - low) + low
        for low, high in (TURN, SHEAR, SCALE, SCALE, SHIFT, SHIFT, WIDTH, BLUR)
    )
    # Columns of the affine map: scaling, then shear, then rotation.
    cos, sin = turn.cos(), turn.sin()
    matrix = torch.stack(
        [torch.stack([cos, sin], 1) * across[:, None], torch.stack([shear * cos - sin, shear * sin + cos], 1)], 2
    )
    matrix[:, :, 1] *= down[:, None]
    pixel = side / SIDE
    middle = (side - 1) / 2 + torch.stack([x, y], 1) * pixel
    pictures = torch.empty(len(labels), side, side, dtype=torch.uint8)
    # Glyphs with similar numbers of segments are drawn together, so that a 1 does not take as long as an 8.
    for rows in counts[fonts, labels].argsort(stable=True).split(CHUNK):
        font, label = fonts[rows], labels[rows]
        ends = segments[font, label, : int(counts[font, label].max())].unflatten(2, (2, 2))
        placed = (ends * (UNIT * pixel)) @ matrix[rows, None].mT + middle[rows, None, None]
        away = distance(placed.flatten(2), side)
        soft = (blur[rows] * pixel)[:, None, None]
        bright = ((width[rows] * pixel / 2)[:, None, None] + soft - away) / (2 * soft)
        pictures[rows] = bright.clamp(0, 1).mul(255).round().to(torch.uint8)
    return pictures[:, None]


def distance(segments: Tensor, side: int) -> Tensor:
    """Distance (n, side, side) of each pixel's centre to the nearest segment (n, S, 4: x, y, x, y) of its picture.

    The centre of the pixel in row i and column j is at x = j, y = i.
    """
    at = torch.arange(side, dtype=segments.dtype)
    nearest = torch.full((len(segments), side, side), torch.inf, dtype=segments.dtype)
    for ax, ay, bx, by in segments.permute(1, 2, 0)[..., None]:  # each (n, 1)
        x, y, dx, dy = at - ax, at - ay, bx - ax, by - ay
        length = (dx.square() + dy.square())[..., None]
        along = (y * dy)[:, :, None] + (x * dx)[:, None, :]
        t = (along / length.clamp_min(1e-12)).clamp_(0, 1)
        square = along.mul_(-2).addcmul_(t, length).mul_(t)  # |p - a - t d|² - |p - a|²
        square += y.square()[:, :, None] + x.square()[:, None, :]
        nearest = torch.minimum(nearest, square)
    return nearest.clamp_min_(0).sqrt_()
