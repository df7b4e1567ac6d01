"""A digit beside a garment: only the digit's panel determines the label, and its side is random."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from zoo.data.synthetic.garments import GARMENTS, draw_garments
from zoo.data.synthetic.images import CountedBenchmark, RenderedPictures, Renderer, grey_domain
from zoo.data.synthetic.stroke_digits import DIGITS
from zoo.data.synthetic.stroke_drawing import SIDE, draw_digits
from zoo.domain import ImageDomain
from zoo.utils.checks import check_choice

REGIONS = ("boxes", "strokes")


class SwitchingPanels(CountedBenchmark):
    """A generated digit and a garment side by side, 28 x 56 pixels, in random order; the class is the digit.

    The garment is one of ten silhouettes with a texture. The garment and the order are independent of the digit. A
    selector that picks the garment's panel is wrong, and one that encodes the label in the side that it picks is
    detected. The factor is "digit"; "distractor", the garment, can be removed as well. The ceiling is 1.

    After the switching panels of Senetaire et al.: "Explainability as Statistical Inference", ICML 2023, arXiv
    2212.03131. Differs from the paper: its panels are pictures of MNIST and Fashion-MNIST.

    Args:
        regions: region of the digit: "boxes", its panel of 28 x 28 pixels, or "strokes", its pixels that are not black.
        **counted: the options of `CountedBenchmark`.
    """

    factors = ("digit",)
    also_removable = ("distractor",)
    ceiling = 1.0

    def __init__(self, regions: str = "boxes", **counted: Any) -> None:
        super().__init__(**counted)
        check_choice(REGIONS, regions=regions)
        self.strokes = regions == "strokes"

    def make_domain(self) -> ImageDomain:
        return grey_domain(DIGITS, (SIDE, 2 * SIDE), 0.15, 0.28)

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        labels, kinds = torch.randint(10, (2, count), generator=generator)
        swapped = torch.randint(2, (count,), generator=generator).bool()
        panels = Panels(draw_digits(labels, generator), draw_garments(kinds, generator), swapped, self.strokes)
        both = zip(labels.tolist(), kinds.tolist(), strict=True)
        names = [f"{split} panels {i}: {digit} and {GARMENTS[kind]}" for i, (digit, kind) in enumerate(both)]
        return RenderedPictures(panels, labels, self.make_domain(), names)


class Panels(Renderer):
    """Digits and garments side by side.

    Args:
        digits, garments: (N, 1, H, W), uint8.
        swapped: (N,) bool, whether the digit is on the right.
        strokes: the region is the pixels of the digit that are not black, instead of its panel.
    """

    def __init__(self, digits: Tensor, garments: Tensor, swapped: Tensor, strokes: bool) -> None:
        self.digits, self.garments, self.swapped, self.strokes = digits, garments, swapped, strokes

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        digits = self.digits[rows] * ("digit" not in without)
        return self._beside(rows, digits, self.garments[rows] * ("distractor" not in without))

    def regions(self, rows: list[int]) -> Tensor:
        digits = self.digits[rows]
        region = (digits > 0).float() if self.strokes else torch.ones(digits.shape)
        return self._beside(rows, region, torch.zeros(digits.shape))

    def _beside(self, rows: list[int], digits: Tensor, garments: Tensor) -> Tensor:
        swapped = self.swapped[rows, None, None, None]
        return torch.where(swapped, torch.cat([garments, digits], 3), torch.cat([digits, garments], 3))
