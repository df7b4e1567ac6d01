"""Shapes with random size, orientation and position, drawn by sampling each pixel at 4 x 4 points."""

import torch
from torch import Tensor

from zoo.data.synthetic.stroke_drawing import CHUNK

SIDE, REACH = 64, 12  # of a picture; the largest distance of a shape's points from its centre; in pixels
FINE = 4  # samples along a pixel
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TURNS, PLACES = 40, 32  # number of orientations, and of positions along each side


def places(count: int, generator: torch.Generator, tries: int = 64) -> Tensor:
    """(2, count, 2) centres x, y, in pixels, of two shapes that do not touch; the first is uniform over all positions.

    The second is drawn until it does not touch the first; after `tries` it lies in the corner of the opposite quadrant.
    """
    step = (SIDE - 2 * REACH) / PLACES
    drawn = torch.randint(PLACES, (count, tries + 1, 2), generator=generator)
    centres = REACH - 0.5 + (drawn + 0.5) * step
    first, second = centres[:, :1], centres[:, 1:]
    apart = (first - second).square().sum(2) >= (2 * REACH + 2) ** 2  # (count, tries)
    chosen = second[torch.arange(count), apart.to(torch.uint8).argmax(1)]
    low, high = REACH - 0.5 + step / 2, SIDE - REACH - 0.5 - step / 2
    opposite = torch.where(first[:, 0] > (SIDE - 1) / 2, low, high)
    return torch.stack([first[:, 0], torch.where(apart.any(1)[:, None], chosen, opposite)])


def sprites(kinds: Tensor, scales: Tensor, turns: Tensor, centres: Tensor) -> Tensor:
    """Coverage (N, 64, 64) of each pixel, uint8 with 255 for all of it.

    Args:
        kinds: (N,) shape: square, ellipse, heart, triangle or ring.
        scales: (N,) index of `SCALES`.
        turns: (N,) orientation, 0 to 39, in steps of 9 degrees.
        centres: (N, 2) x and y in pixels.
    """
    rows = torch.arange(len(kinds)).split(CHUNK)
    return torch.cat([_draw(kinds[some], scales[some], turns[some], centres[some]) for some in rows])


def _draw(kinds: Tensor, scales: Tensor, turns: Tensor, centres: Tensor) -> Tensor:
    width = 2 * REACH + 2  # of a window that contains the shape
    corners = centres.round().long() - width // 2
    fine = (torch.arange(width * FINE) + 0.5) / FINE - 0.5
    x, y = (fine + (corners - centres).T[..., None]) / torch.tensor(SCALES)[scales, None]  # each (n, width FINE)
    # Rotating the samples back rotates the shape.
    angles = (turns * (2 * torch.pi / TURNS))[:, None, None]
    u = angles.cos() * x[:, None] + angles.sin() * y[:, :, None]
    v = angles.cos() * y[:, :, None] - angles.sin() * x[:, None]
    share = inside(kinds, u, v).view(-1, width, FINE, width, FINE).sum((2, 4)) / FINE**2
    windows = share.mul(255).round().to(torch.uint8).flatten(1)
    # Windows, unlike shapes, may exceed the picture: they are pasted on a larger canvas, which is cropped.
    wide = SIDE + 2 * width
    inner = (torch.arange(width)[:, None] * wide + torch.arange(width)).flatten()
    where = (corners + width).flip(1) @ torch.tensor([wide, 1])
    canvas = torch.zeros(len(kinds), wide**2, dtype=torch.uint8).scatter_(1, where[:, None] + inner, windows)
    return canvas.unflatten(1, (wide, wide))[:, width:-width, width:-width]


def inside(kinds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, a, b) bool: whether points (n, a, b), in pixels from the centre (y down), are in shapes (n,) of scale 1."""
    result = torch.zeros(x.shape, dtype=torch.bool)
    for kind, test in enumerate(TESTS):
        rows = (kinds == kind).nonzero().flatten()
        result[rows] = test(x[rows], y[rows])
    return result


def _heart(x: Tensor, y: Tensor) -> Tensor:
    x2, y = (x / 8.6).square(), -y / 8.6
    return (x2 + y * y - 1) ** 3 - x2 * y**3 <= 0


TESTS = (
    lambda x, y: torch.maximum(x.abs(), y.abs()) <= 8.2,
    lambda x, y: (x / 11).square() + (y / 6.5).square() <= 1,
    _heart,
    lambda x, y: (y <= 5.5) & (y >= 3**0.5 * x.abs() - 11),
    lambda x, y: ((x * x + y * y).sqrt() - 9.5).abs() <= 1.75,
)
