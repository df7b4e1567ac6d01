"""Ten fonts of digits made of strokes (lines and arcs), in a box of -1 to 1 (y points down)."""

import itertools
import math

import torch
from torch import Tensor

Point = tuple[float, float]
Arc = tuple[float, float, float, float, float, float]  # centre x, y; radii x, y; from and to in degrees, clockwise
Glyph = list[list[Point | Arc]]  # strokes, each a path of points and arcs; an arc starts at 0° on the right

ROUND: dict[int, Glyph] = {
    0: [[(0, 0, 0.6, 1, -90, 270)]],
    1: [[(-0.35, -0.6), (0.05, -1), (0.05, 1)]],
    2: [[(0, -0.45, 0.55, 0.55, 190, 400), (-0.55, 1), (0.6, 1)]],
    3: [[(0, -0.52, 0.5, 0.48, 205, 450), (0, 0.48, 0.58, 0.52, 270, 515)]],
    4: [[(0.3, 1), (0.3, -1), (-0.6, 0.4), (0.65, 0.4)]],
    5: [[(0.5, -1), (-0.4, -1), (-0.47, -0.03), (0, 0.37, 0.6, 0.63, 220, 510)]],
    6: [[(0.6, 0.4, 1.2, 1.4, 258, 180), (0, 0.4, 0.6, 0.6, 180, -180)]],
    7: [[(-0.6, -1), (0.6, -1), (-0.15, 1)]],
    8: [[(0, -0.52, 0.48, 0.48, 90, 450), (0, 0.48, 0.6, 0.52, 270, 630)]],
    9: [[(0, -0.4, 0.6, 0.6, 0, -360), (-0.6, -0.4, 1.2, 1.4, 0, 78)]],
}
HAND: dict[int, Glyph] = {
    0: [[(0, 0, 0.5, 1, -60, 290)]],
    1: [[(0, -1), (0, 1)]],
    2: [[(0, -0.45, 0.5, 0.55, 200, 400), (-0.33, 0.72, 0.24, 0.2, 320, 60), (0.6, 0.95)]],
    3: [[(-0.5, -1), (0.5, -1), (-0.05, -0.2), (0, 0.4, 0.58, 0.6, 270, 510)]],
    4: [[(-0.35, -1), (-0.55, 0.15), (0.6, 0.15)], [(0.35, -0.7), (0.25, 1)]],
    5: [[(-0.35, -0.95), (-0.47, -0.03), (0, 0.37, 0.55, 0.63, 220, 510)], [(-0.35, -0.95), (0.55, -1)]],
    6: [[(0.25, -1), (-0.45, 0.35), (0, 0.52, 0.48, 0.48, 195, -160)]],
    7: [[(-0.6, -1), (0.6, -1), (-0.15, 1)], [(-0.35, 0.05), (0.5, 0.05)]],
    8: [[(0.03, -0.55, 0.42, 0.45, 30, -195), (0.4, 0.3), (0, 0.52, 0.48, 0.48, -25, 205), (0.4, -0.32)]],
    9: [[(0, -0.5, 0.48, 0.5, 0, -360), (0.35, 1)]],
}
SERIF: dict[int, Glyph] = {
    **ROUND,
    0: [[(0, 0, 0.65, 1, -90, 270)], [(0.35, -0.7), (-0.35, 0.7)]],
    1: [[(-0.4, -0.65), (0, -1), (0, 1)], [(-0.45, 1), (0.45, 1)]],
    2: [[(0, -0.42, 0.55, 0.58, 180, 410), (-0.55, 1), (0.6, 1), (0.6, 0.7)]],
    4: [[(0.3, 1), (0.3, -1), (-0.6, 0.4), (0.65, 0.4)], [(0, 1), (0.6, 1)]],
    7: [[(-0.6, -0.7), (-0.6, -1), (0.6, -1), (0.1, 0), (-0.05, 1)]],
    8: [[(0, -0.5, 0.5, 0.5, 90, 450), (0, 0.5, 0.5, 0.5, 270, 630)]],
}
SQUARE: dict[int, Glyph] = {
    0: [[(-0.55, -1), (0.55, -1), (0.55, 1), (-0.55, 1), (-0.55, -1)]],
    1: [[(-0.3, -1), (0, -1), (0, 1)]],
    2: [[(-0.55, -1), (0.55, -1), (0.55, 0), (-0.55, 0), (-0.55, 1), (0.55, 1)]],
    3: [[(-0.55, -1), (0.55, -1), (0.55, 1), (-0.55, 1)], [(-0.35, 0), (0.55, 0)]],
    4: [[(-0.55, -1), (-0.55, 0.15), (0.55, 0.15)], [(0.55, -1), (0.55, 1)]],
    5: [[(0.55, -1), (-0.55, -1), (-0.55, 0), (0.55, 0), (0.55, 1), (-0.55, 1)]],
    6: [[(0.55, -1), (-0.55, -1), (-0.55, 1), (0.55, 1), (0.55, 0), (-0.55, 0)]],
    7: [[(-0.55, -1), (0.55, -1), (0.55, 1)]],
    8: [[(-0.55, -1), (0.55, -1), (0.55, 1), (-0.55, 1), (-0.55, -1)], [(-0.55, 0), (0.55, 0)]],
    9: [[(0.55, 0), (-0.55, 0), (-0.55, -1), (0.55, -1), (0.55, 1), (-0.55, 1)]],
}
# Alphabet, degrees per chord of an arc, width, slant (shift of x to the right per unit of height).
FONTS: dict[str, tuple[dict[int, Glyph], float, float, float]] = {
    "plain": (ROUND, 30, 1, 0),
    "italic": (ROUND, 30, 0.9, 0.25),
    "wide": (ROUND, 30, 1.25, 0),
    "narrow": (ROUND, 30, 0.7, 0),
    "cut": (ROUND, 60, 1, 0),
    "hand": (HAND, 30, 1, 0.1),
    "swift": (HAND, 30, 0.85, 0.3),
    "serif": (SERIF, 30, 1, 0),
    "square": (SQUARE, 30, 1, 0),
    "leaning": (SQUARE, 30, 0.85, 0.2),
}


def font_table() -> tuple[Tensor, Tensor]:
    """All glyphs as segments (fonts, 10, S, 4: x, y, x, y), and the number of segments of each glyph (fonts, 10).

    Rows are padded with their last segment, which changes no distance.
    """
    glyphs = [[_segments(alphabet[d], *form) for d in range(10)] for alphabet, *form in FONTS.values()]
    counts = torch.tensor([[len(g) for g in font] for font in glyphs])
    longest = int(counts.max())
    filled = [[g + g[-1:] * (longest - len(g)) for g in font] for font in glyphs]
    return torch.tensor(filled), counts


def _segments(glyph: Glyph, chord: float, width: float, slant: float) -> list[list[float]]:
    segments = []
    for stroke in glyph:
        path = [p for part in stroke for p in ([part] if len(part) == 2 else _arc(part, chord))]
        placed = [(width * x - slant * y, y) for x, y in path]
        segments += [[*a, *b] for a, b in itertools.pairwise(placed) if a != b]
    return segments


def _arc(arc: Arc, chord: float) -> list[Point]:
    x, y, rx, ry, start, stop = arc
    steps = max(round(abs(stop - start) / chord), 1)
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]
