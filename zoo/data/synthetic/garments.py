"""Garments: ten silhouettes with textures that are independent of the silhouette."""

import torch
from torch import Tensor

from zoo.data.synthetic.stroke_drawing import CHUNK, SIDE, distance

# Outlines in a box of -1 to 1 (y points down). Symmetric garments are given by their right half, from top to bottom.
HALVES = {
    "t-shirt": ((0, -0.72), (0.25, -0.85), (0.9, -0.5), (0.72, -0.05), (0.48, -0.22), (0.48, 0.85), (0, 0.85)),
    "trousers": ((0, -0.95), (0.42, -0.95), (0.55, 0.95), (0.15, 0.95), (0, -0.25)),
    "pullover": ((0, -0.7), (0.25, -0.85), (0.6, -0.65), (0.95, 0.7), (0.7, 0.8), (0.46, -0.1), (0.46, 0.8), (0, 0.8)),
    "dress": ((0, -0.6), (0.15, -0.95), (0.3, -0.95), (0.22, -0.25), (0.65, 0.95), (0, 0.95)),
    "coat": ((0, -0.5), (0.2, -0.95), (0.6, -0.75), (0.9, 0.4), (0.66, 0.5), (0.5, -0.1), (0.62, 0.95), (0, 0.95)),
    "vest": ((0, -0.3), (0.2, -0.9), (0.36, -0.9), (0.38, -0.45), (0.58, -0.25), (0.52, 0.85), (0, 0.85)),
    "skirt": ((0, -0.65), (0.35, -0.65), (0.85, 0.7), (0, 0.7)),
}
WHOLES = {
    "shoe": ((-0.95, 0.5), (-0.95, -0.15), (-0.5, -0.3), (-0.2, 0), (0.5, 0.12), (0.95, 0.3), (0.95, 0.5)),
    "boot": ((-0.6, 0.9), (-0.5, -0.9), (0.1, -0.9), (0.1, 0.2), (0.7, 0.45), (0.75, 0.9)),
    "bag": (  # its handle is a ring, cut open at the top
        *((-0.85, 0.8), (-0.7, -0.15), (-0.45, -0.15), (-0.4, -0.85), (0, -0.85), (0, -0.6), (-0.18, -0.6)),
        *((-0.22, -0.15), (0.22, -0.15), (0.18, -0.6), (0, -0.6), (0, -0.85), (0.4, -0.85), (0.45, -0.15)),
        *((0.7, -0.15), (0.85, 0.8)),
    ),
}
GARMENTS = (*HALVES, *WHOLES)
TEXTURES = ("plain", "stripes", "checks", "speckles")

# Uniform from the first to the second number; lengths in pixels, angles in radians.
UNIT, TURN, SCALE, SHIFT = 12.0, (-0.15, 0.15), (0.8, 1.05), (-1.0, 1.0)
BRIGHTNESS, CONTRAST, PERIOD = (0.45, 0.75), (0.1, 0.25), (3.0, 6.0)


def draw_garments(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Garments (N, 1, 28, 28), uint8, grey on black, for kinds (N,), which index `GARMENTS`.

    Rotation, size, position, direction, brightness and texture of each garment are random; 255 is never reached.
    """
    return torch.cat([_draw(some, generator) for some in kinds.split(CHUNK)])


def _draw(kinds: Tensor, generator: torch.Generator) -> Tensor:
    n = len(kinds)
    turn, scale, x, y, bright, contrast, period, grain, phase = (
        (torch.rand(n, generator=generator) * (high - low) + low)[:, None, None]
        for low, high in (TURN, SCALE, SHIFT, SHIFT, BRIGHTNESS, CONTRAST, PERIOD, (0, torch.pi), (0, 2 * torch.pi))
    )
    facing = torch.randint(2, (n, 1, 1), generator=generator) * 2 - 1
    texture = torch.randint(len(TEXTURES), (n, 1, 1), generator=generator)
    speckles = torch.rand(n, SIDE, SIDE, generator=generator) * 2 - 1
    # The pattern, in [-1, 1], is fixed to the picture, so that it carries no information about the rotation.
    at = torch.arange(SIDE)
    along = (grain.cos() * at + grain.sin() * at[:, None]) * (2 * torch.pi / period) + phase
    across = (grain.cos() * at[:, None] - grain.sin() * at) * (2 * torch.pi / period) + phase
    patterns = torch.stack([torch.zeros_like(along), along.sin(), along.sin() * across.sin(), speckles])
    pattern = patterns.gather(0, texture.expand(1, n, SIDE, SIDE))[0]
    corners = outlines()[kinds] * torch.cat([facing, torch.ones_like(facing)], 2) * (UNIT * scale)
    turned = torch.cat(
        [
            turn.cos() * corners[..., :1] - turn.sin() * corners[..., 1:],
            turn.sin() * corners[..., :1] + turn.cos() * corners[..., 1:],
        ],
        2,
    )
    placed = turned + torch.cat([x, y], 2) + (SIDE - 1) / 2
    return (fill(placed, SIDE) * (bright + contrast * pattern)).mul(255).round().to(torch.uint8)[:, None]


def outlines() -> Tensor:
    """All silhouettes as polygons (10, V, 2), padded with their last corner."""
    halves = [(*half, *((-x, y) for x, y in reversed(half) if x > 0)) for half in HALVES.values()]
    polygons = [*halves, *WHOLES.values()]
    longest = max(map(len, polygons))
    return torch.tensor([[*p, *p[-1:] * (longest - len(p))] for p in polygons], dtype=torch.float)


def fill(polygons: Tensor, side: int) -> Tensor:
    """Approximate coverage (n, side, side) of pixels by polygons (n, V, 2): 1/2 on an edge, linear over one pixel."""
    ends = torch.cat([polygons, polygons.roll(-1, 1)], 2)
    at = torch.arange(side, dtype=polygons.dtype)
    inside = torch.zeros(len(polygons), side, side, dtype=torch.bool)
    for ax, ay, bx, by in ends.permute(1, 2, 0)[..., None]:  # each (n, 1)
        # A ray to the right crosses this edge: an odd number of crossings starts inside.
        level = (ay > at) != (by > at)
        crossing = ax + (bx - ax) * (at - ay) / torch.where(by == ay, 1, by - ay)
        inside ^= level[:, :, None] & (at < crossing[:, :, None])
    away = distance(ends, side)
    return (0.5 + torch.where(inside, away, -away)).clamp(0, 1)
