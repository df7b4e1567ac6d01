"""One shape to name and one to ignore, with every factor of their pictures known."""

from collections.abc import Collection

import torch
from torch import Tensor

from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld, one_of, over, split_counts
from zoo.data.synthetic.stroke_digits import CHUNK
from zoo.domain import ImageDomain

SIDE, REACH = 64, 12  # of a picture; how far a shape reaches from its centre, at most
FINE = 4  # samples along a pixel
SHAPES = ("square", "ellipse", "heart")
OTHERS = ("triangle", "ring")
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TURNS, PLACES = 40, 32  # orientations, and positions along each side
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
COLOURS = {"red": (230, 60, 50), "green": (40, 170, 70), "blue": (60, 110, 240), "yellow": (240, 200, 40)}
LABELS = {"shape": SHAPES, "shape_quadrant": tuple(f"{shape}, {where}" for shape in SHAPES for where in QUADRANTS)}


class Sprites(PictureWorld):
    """A square, an ellipse or a heart, 64 x 64 pixels: which, or which in which quadrant?

    It has one of 3 shapes, 6 scales, 40 orientations and 32 x 32 places, all equally likely. A triangle or a ring, to
    be ignored, may stand anywhere that it does not touch it; it says nothing of the shape, and of the quadrant no more
    than that the object is elsewhere. Concepts are the shape, the scale, the quadrant and, if there is one, the colour,
    each an exclusive group; not the orientation, which a square shows up to a quarter turn only. The factor is
    "object"; "other", the triangle or ring, can be removed as well. The ceiling is 1: no picture, of all that can be
    drawn, is of two shapes, and no centre lies between two quadrants.

    After dSprites, of Matthey et al.: "dSprites: Disentanglement testing Sprites dataset", 2017, with edges that are
    smooth, colour, and the second shape.

    Args:
        label: "shape" (3 classes) or "shape_quadrant" (12).
        colour: paint each shape in one of four colours; white on black otherwise.
        other: add the triangle or ring.
        count: pictures to train on.
        test_count: pictures to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the pictures and the shuffles.
        val_fraction: as many times `count` are the pictures to validate on.
    """

    factors = ("object",)
    removable = ("object", "other")

    def __init__(
        self,
        label: str = "shape_quadrant",
        colour: bool = False,
        other: bool = True,
        count: int = 10_000,
        test_count: int = 2000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        one_of("label", label, LABELS)
        self.label, self.colour, self.other = label, colour, other
        self.counts = split_counts(count, test_count, val_fraction)

    @property
    def ceiling(self) -> float:
        return 1.0

    def make_domain(self) -> ImageDomain:
        groups = {"shape": SHAPES, "scale": tuple(map(str, SCALES)), "quadrant": QUADRANTS}
        groups |= {"colour": tuple(COLOURS)} if self.colour else {}
        named = {group: tuple(f"{group} is {value}" for value in values) for group, values in groups.items()}
        channels = 3 if self.colour else 1
        return ImageDomain(
            classes=LABELS[self.label],
            concepts=tuple(name for names in named.values() for name in names),
            concept_groups=named,
            exclusive=tuple(named),
            size=(SIDE, SIDE),
            channels=channels,
            mean=(0.03 if self.colour else 0.06,) * channels,
            std=(0.14 if self.colour else 0.23,) * channels,
        )

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        def values(high: int, *size: int) -> Tensor:
            return torch.randint(high, size, generator=generator)

        shape, kind = values(len(SHAPES), count), values(len(OTHERS), count)
        scale, turn, ink = values(len(SCALES), 2, count), values(TURNS, 2, count), values(len(COLOURS), 2, count)
        centres = places(count, generator)
        kinds = torch.stack([shape, kind + len(SHAPES)])
        covers = torch.stack([sprites(*one) for one in zip(kinds, scale, turn, centres, strict=True)])
        covers[1] *= self.other
        inks = torch.tensor(list(COLOURS.values()))[ink] if self.colour else torch.full((2, count, 1), 255)
        quadrant = (centres[0] > (SIDE - 1) / 2).long() @ torch.tensor([1, 2])
        facts = [(shape, len(SHAPES)), (scale[0], len(SCALES)), (quadrant, len(QUADRANTS)), (ink[0], len(COLOURS))]
        facts = facts if self.colour else facts[:-1]
        concepts = torch.cat([torch.nn.functional.one_hot(*fact) for fact in facts], 1).float()
        targets = shape if self.label == "shape" else shape * len(QUADRANTS) + quadrant
        texts = [f"{SHAPES[s]}, {QUADRANTS[q]}" for s, q in zip(shape.tolist(), quadrant.tolist(), strict=True)]
        names = [f"{split} sprite {i}: {text}" for i, text in enumerate(texts)]
        return Paintings(Sprited(covers, inks), targets, self.make_domain(), names, concepts=concepts)


class Sprited(Painted):
    """Two shapes on black.

    Args:
        covers: (2, N, H, W) uint8, how much of a pixel the object, and the other, cover, of 255.
        inks: (2, N, C) of 0 to 255.
    """

    def __init__(self, covers: Tensor, inks: Tensor) -> None:
        self.covers, self.inks = covers, inks

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        picture = torch.zeros((), dtype=torch.uint8)
        for cover, ink, name in zip(self.covers, self.inks, Sprites.removable, strict=True):
            picture = over(picture, ink[rows, :, None, None], cover[rows, None] * (name not in without))
        return picture

    def regions(self, rows: list[int]) -> Tensor:
        return (self.covers[0, rows, None] > 0).float()


def places(count: int, generator: torch.Generator, tries: int = 64) -> Tensor:
    """(2, count, 2) centres x, y of two shapes, in pixels, that do not touch; the first is equally likely everywhere.

    The second is far enough away; after many tries it lies in the corner of the opposite quadrant.
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
    """How much of each pixel (N, 64, 64), uint8 of 255, shapes of kinds, scales and turns (N,) at centres (N, 2) cover.

    A pixel is sampled at 4 x 4 points.
    """
    rows = torch.arange(len(kinds)).split(CHUNK)
    return torch.cat([_draw(kinds[some], scales[some], turns[some], centres[some]) for some in rows])


def _draw(kinds: Tensor, scales: Tensor, turns: Tensor, centres: Tensor) -> Tensor:
    width = 2 * REACH + 2  # of a window that holds the shape
    corners = centres.round().long() - width // 2
    fine = (torch.arange(width * FINE) + 0.5) / FINE - 0.5
    x, y = (fine + (corners - centres).T[..., None]) / torch.tensor(SCALES)[scales, None]  # each (n, width FINE)
    # Shapes are turned by turning the samples back.
    angles = (turns * (2 * torch.pi / TURNS))[:, None, None]
    u = angles.cos() * x[:, None] + angles.sin() * y[:, :, None]
    v = angles.cos() * y[:, :, None] - angles.sin() * x[:, None]
    share = inside(kinds, u, v).view(-1, width, FINE, width, FINE).sum((2, 4)) / FINE**2
    windows = share.mul(255).round().to(torch.uint8).flatten(1)
    # Windows may stick out of the picture, shapes do not: they are pasted on a larger canvas, which is cut.
    wide = SIDE + 2 * width
    inner = (torch.arange(width)[:, None] * wide + torch.arange(width)).flatten()
    where = (corners + width).flip(1) @ torch.tensor([wide, 1])
    canvas = torch.zeros(len(kinds), wide**2, dtype=torch.uint8).scatter_(1, where[:, None] + inner, windows)
    return canvas.unflatten(1, (wide, wide))[:, width:-width, width:-width]


def inside(kinds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Whether points (n, a, b), in pixels from the centre and y down, lie in shapes of scale 1 and kinds (n,)."""
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
