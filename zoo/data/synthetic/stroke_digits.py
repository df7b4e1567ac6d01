"""Digits of ten stroke fonts, drawn at random: a stand-in for handwriting that needs no data set."""

from collections.abc import Collection

import torch
from torch import Tensor

from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld, grey_domain, split_counts
from zoo.data.synthetic.stroke_fonts import font_table
from zoo.domain import ImageDomain

SIDE = 28
DIGITS = tuple(map(str, range(10)))
UNIT = 9.0  # half the height of a glyph, in pixels of a picture of SIDE
CHUNK = 512  # digits drawn at once: the buffers stay near the processor

# From and to, uniformly; lengths in pixels of a picture of SIDE, angles in radians.
TURN, SHEAR, SCALE, SHIFT = (-0.2, 0.2), (-0.15, 0.15), (0.85, 1.1), (-2.0, 2.0)
WIDTH, BLUR = (1.8, 3.4), (0.5, 1.2)


def draw_digits(labels: Tensor, generator: torch.Generator, side: int = SIDE) -> Tensor:
    """Digits (N, 1, side, side), uint8, white on black, for labels (N,) of 0 to 9.

    Each has a font, a rotation, shear, width, height, place, stroke width and softness of its own. A pixel's brightness
    falls linearly with its distance to the nearest stroke: half of 255 at the stroke's edge, 0 a blur further out.

    Raises:
        ValueError: labels that are no digits, none at all, or a side below 8.
    """
    if labels.ndim != 1 or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        found = labels.unique().tolist()[:12]
        raise ValueError(f"labels must be (N,) digits of 0 to 9; got shape {tuple(labels.shape)} with values {found}.")
    if side < 8:
        raise ValueError(f"digits need a side of at least 8 pixels to be read; got {side}.")
    segments, counts = font_table()
    fonts = torch.randint(len(segments), labels.shape, generator=generator)
    turn, shear, across, down, x, y, width, blur = (
        torch.rand(len(labels), generator=generator) * (high - low) + low
        for low, high in (TURN, SHEAR, SCALE, SCALE, SHIFT, SHIFT, WIDTH, BLUR)
    )
    # Columns of the affine map: a turn after a shear after a scaling.
    cos, sin = turn.cos(), turn.sin()
    matrix = torch.stack(
        [torch.stack([cos, sin], 1) * across[:, None], torch.stack([shear * cos - sin, shear * sin + cos], 1)], 2
    )
    matrix[:, :, 1] *= down[:, None]
    pixel = side / SIDE
    middle = (side - 1) / 2 + torch.stack([x, y], 1) * pixel
    pictures = torch.empty(len(labels), side, side, dtype=torch.uint8)
    # Glyphs of as many segments are drawn together, so that a 1 does not take as long as an 8.
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
    """Distance (n, side, side) of every pixel's centre to the nearest of its picture's segments (n, S, 4), x, y, x, y.

    The centre of the pixel in row i and column j is at x = j, y = i.
    """
    at = torch.arange(side, dtype=segments.dtype)
    nearest = torch.full((len(segments), side, side), torch.inf, dtype=segments.dtype)
    for ax, ay, bx, by in segments.permute(1, 2, 0)[..., None]:  # each (n, 1)
        x, y, dx, dy = at - ax, at - ay, bx - ax, by - ay
        length = (dx.square() + dy.square())[..., None]
        along = (y * dy)[:, :, None] + (x * dx)[:, None, :]
        t = (along / length.clamp_min(1e-12)).clamp_(0, 1)
        square = along.mul_(-2).addcmul_(t, length).mul_(t)  # |p - a - t d|² less |p - a|²
        square += y.square()[:, :, None] + x.square()[:, None, :]
        nearest = torch.minimum(nearest, square)
    return nearest.clamp_min_(0).sqrt_()


class StrokeDigits(PictureWorld):
    """Generated digits, 28 x 28 pixels, in ten fonts: which digit is it?

    The factor is "digit", and its region the pixels that are not black. The ceiling is 1: shapes of two digits stay
    apart under every transformation that is drawn.

    Args:
        count: digits to train on.
        test_count: digits to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the digits and the shuffles.
        val_fraction: as many times `count` are the digits to validate on.
    """

    factors = removable = ("digit",)

    def __init__(
        self,
        count: int = 10_000,
        test_count: int = 2000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        self.counts = split_counts(count, test_count, val_fraction)

    @property
    def ceiling(self) -> float:
        return 1.0

    def make_domain(self) -> ImageDomain:
        return grey_domain(DIGITS, (SIDE, SIDE), 0.14, 0.3)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        labels = torch.randint(10, (count,), generator=generator)
        names = [f"{split} digit {i}: {label}" for i, label in enumerate(labels.tolist())]
        return Paintings(Strokes(draw_digits(labels, generator)), labels, self.make_domain(), names)


class Strokes(Painted):
    """Digits (N, 1, H, W), uint8, on black."""

    def __init__(self, digits: Tensor) -> None:
        self.digits = digits

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        return self.digits[rows] * ("digit" not in without)

    def regions(self, rows: list[int]) -> Tensor:
        return (self.digits[rows] > 0).float()
