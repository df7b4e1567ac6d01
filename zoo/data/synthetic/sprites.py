"""One shape to classify and one to ignore, with all factors of variation known."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.synthetic.images import CountedBenchmark, RenderedPictures, Renderer, over
from zoo.data.synthetic.sprite_drawing import SCALES, SIDE, TURNS, places, sprites
from zoo.domain import ImageDomain
from zoo.utils.checks import check_choice

SHAPES = ("square", "ellipse", "heart")
OTHERS = ("triangle", "ring")
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
COLOURS = {"red": (230, 60, 50), "green": (40, 170, 70), "blue": (60, 110, 240), "yellow": (240, 200, 40)}
LABELS = {"shape": SHAPES, "shape_quadrant": tuple(f"{shape}, {where}" for shape in SHAPES for where in QUADRANTS)}
LAYERS = ("object", "other")  # from back to front


class Sprites(CountedBenchmark):
    """A square, an ellipse or a heart, 64 x 64 pixels; the class is the shape, or the shape and its quadrant.

    The object has one of 3 shapes, 6 scales, 40 orientations and 32 x 32 positions, all equally likely. A triangle or a
    ring, to be ignored, stands anywhere that it does not touch the object; it is independent of the shape, and of the
    quadrant except that the object is elsewhere. Concepts are the shape, the scale, the quadrant and, if there is one,
    the colour, each an exclusive group; not the orientation, which is ambiguous for a square. The factor is "object";
    "other", the triangle or ring, can be removed as well. The ceiling is 1: no picture shows two of the shapes, and no
    centre lies between two quadrants.

    After dSprites: Matthey et al.: "dSprites: Disentanglement testing Sprites dataset", 2017. Differs from it: smooth
    edges, colour, and the second shape.

    Args:
        label: "shape" (3 classes) or "shape_quadrant" (12 classes).
        colour: paint each shape in one of four colours; otherwise white on black.
        other: add the triangle or ring.
        **counted: the options of `CountedBenchmark`.
    """

    factors = ("object",)
    also_removable = ("other",)
    ceiling = 1.0

    def __init__(self, label: str = "shape_quadrant", colour: bool = False, other: bool = True, **counted: Any) -> None:
        super().__init__(**counted)
        check_choice(LABELS, label=label)
        self.label, self.colour, self.other = label, colour, other

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

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
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
        concepts = torch.cat([F.one_hot(*fact) for fact in facts], 1).float()
        targets = shape if self.label == "shape" else shape * len(QUADRANTS) + quadrant
        texts = [f"{SHAPES[s]}, {QUADRANTS[q]}" for s, q in zip(shape.tolist(), quadrant.tolist(), strict=True)]
        names = [f"{split} sprite {i}: {text}" for i, text in enumerate(texts)]
        return RenderedPictures(Sprited(covers, inks), targets, self.make_domain(), names, concepts=concepts)


class Sprited(Renderer):
    """Two shapes on black.

    Args:
        covers: (2, N, H, W) uint8, coverage of each pixel by the object and by the other shape, 255 for all of it.
        inks: (2, N, C) colours, 0 to 255.
    """

    def __init__(self, covers: Tensor, inks: Tensor) -> None:
        self.covers, self.inks = covers, inks

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        picture = torch.zeros((), dtype=torch.uint8)
        for cover, ink, name in zip(self.covers, self.inks, LAYERS, strict=True):
            picture = over(picture, ink[rows, :, None, None], cover[rows, None] * (name not in without))
        return picture

    def regions(self, rows: list[int]) -> Tensor:
        return (self.covers[0, rows, None] > 0).float()
