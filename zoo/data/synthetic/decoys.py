"""Digits with a decoy that predicts the label in training, and misleads in the test."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from zoo.data.synthetic.images import CountedBenchmark, RenderedPictures, Renderer, grey_domain, over
from zoo.data.synthetic.stroke_digits import DIGITS
from zoo.data.synthetic.stroke_drawing import SIDE, draw_digits
from zoo.domain import ImageDomain
from zoo.utils.checks import check_choice

KINDS = ("colour", "corner")
NOISE = 0.25  # share of flipped labels of "colour"
FLIPS = {"train": (0.1, 0.2), "val": (0.1, 0.2), "test": (0.9, 0.9)}  # share of flipped colours, in two environments
INKS = torch.tensor([[255, 0, 0], [0, 255, 0]], dtype=torch.uint8)[..., None, None]
GREY = 85  # as much light as a red or green of 255
PATCH, STEP = 4, 25  # side of the corner's patch; its grey levels are 255, 230, ..., 30
RADIUS = 8.0


class DecoyDigits(CountedBenchmark):
    """Generated digits with a decoy: their colour, or a grey patch in a corner.

        kind     label                              decoy in training and validation       decoy in the test
        colour   is it 5 or more? 25 % are wrong    red for no, green for yes; wrong for   wrong for 90 %
                                                    10 % of one half, 20 % of the other
        corner   the digit                          a patch of 4 x 4 pixels in a random    the grey level of a
                                                    corner, of grey level 255 - 25 digit   random digit

    The factors are "digit" and "decoy". A colour lies on the strokes, so that both regions are equal; the region of a
    digit excludes the pixels that the patch hides. Removing a colour makes the digit grey, removing a patch makes it
    black; removing the digit makes it black, or, if coloured, a disc of that colour.

    The ceiling is what the shape can reach, in every split: 0.75 (the share of correct labels) and 1. A model that
    relies on the decoy reaches `decoy_accuracy`: more in training and far less in the test. In training, the shape adds
    nothing to the colour: 0.85 / 0.15 outweighs 0.75 / 0.25.

    "colour": Arjovsky et al.: "Invariant Risk Minimization", arXiv 1907.02893, section 5.2; "corner": Ross et al.:
    "Right for the Right Reasons", IJCAI 2017, arXiv 1703.03717. Differs from both: they take their digits from MNIST.

    Args:
        kind: "colour" or "corner", see above.
        masks: factors whose pixels together are the mask "relevant" of items, for losses that use masks.
        **counted: the options of `CountedBenchmark`.
    """

    factors = ("digit", "decoy")

    def __init__(self, kind: str = "colour", masks: list[str] | None = None, **counted: Any) -> None:
        super().__init__(**counted)
        check_choice(KINDS, kind=kind)
        self.mark(masks)
        self.kind, self.ceiling = kind, 1 - NOISE if kind == "colour" else 1.0

    @property
    def decoy_accuracy(self) -> dict[str, float]:
        """Expected accuracy, by split, of a model that uses only the decoy, as it is in training."""
        if self.kind == "colour":
            return {split: 1 - sum(flips) / 2 for split, flips in FLIPS.items()}
        return {"train": 1.0, "val": 1.0, "test": 0.1}

    def make_domain(self) -> ImageDomain:
        if self.kind == "corner":
            return grey_domain(DIGITS, (SIDE, SIDE), 0.15, 0.31)
        size, mean, std = (SIDE, SIDE), (0.07,) * 3, (0.22,) * 3  # blue has those of red and green
        return ImageDomain(classes=("below 5", "5 or more"), size=size, channels=3, mean=mean, std=std)

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        labels = torch.randint(10, (count,), generator=generator)
        digits = draw_digits(labels, generator)
        names = [f"{split} digit {i}: {label}" for i, label in enumerate(labels.tolist())]
        if self.kind == "corner":
            shown = labels if split != "test" else torch.randint(10, (count,), generator=generator)
            corners = torch.randint(2, (count, 2), generator=generator) * (SIDE - PATCH)
            return RenderedPictures(Patched(digits, 255 - STEP * shown, corners), labels, self.make_domain(), names)
        targets = (labels >= 5) ^ (torch.rand(count, generator=generator) < NOISE)
        environment = torch.randint(2, (count,), generator=generator)
        flipped = torch.rand(count, generator=generator) < torch.tensor(FLIPS[split])[environment]
        colours = (targets ^ flipped).long()
        return RenderedPictures(Coloured(digits, colours), targets.long(), self.make_domain(), names)


class Coloured(Renderer):
    """Coloured digits on black.

    Args:
        digits: (N, 1, H, W), uint8.
        colours: (N,), 0 for red and 1 for green.
    """

    def __init__(self, digits: Tensor, colours: Tensor) -> None:
        self.digits, self.colours = digits, colours
        at = torch.arange(SIDE) - (SIDE - 1) / 2
        away = (at[:, None].square() + at.square()).sqrt()
        self.disc = (RADIUS + 0.5 - away).clamp(0, 1).mul(255).round().to(torch.uint8)

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        ink = torch.full((1, 3, 1, 1), GREY) if "decoy" in without else INKS[self.colours[rows]]
        alpha = self.disc.expand(len(rows), 1, -1, -1) if "digit" in without else self.digits[rows]
        return over(torch.zeros((), dtype=torch.uint8), ink, alpha)

    def regions(self, rows: list[int]) -> Tensor:
        return (self.digits[rows] > 0).float().expand(-1, 2, -1, -1)


class Patched(Renderer):
    """Digits with a grey patch.

    Args:
        digits: (N, 1, H, W), uint8.
        levels: (N,) grey levels of the patches, 0 to 255.
        corners: (N, 2) top and left of the patches.
    """

    def __init__(self, digits: Tensor, levels: Tensor, corners: Tensor) -> None:
        self.digits, self.levels, self.corners = digits, levels.to(torch.uint8), corners

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        digits = self.digits[rows] * ("digit" not in without)
        if "decoy" in without:
            return digits
        return torch.where(self._patch(rows), self.levels[rows, None, None, None], digits)

    def regions(self, rows: list[int]) -> Tensor:
        patch = self._patch(rows)
        return torch.cat([(self.digits[rows] > 0) & ~patch, patch], 1).float()

    def _patch(self, rows: list[int]) -> Tensor:
        """(n, 1, H, W) bool, the pixels of the patch."""
        height, width = self.digits.shape[-2:]
        top, left = self.corners[rows].T[..., None]
        down, across = torch.arange(height) - top, torch.arange(width) - left
        inside = ((down >= 0) & (down < PATCH))[:, :, None] & ((across >= 0) & (across < PATCH))[:, None, :]
        return inside[:, None]
