"""A digit beside a garment: one panel of two says the label, and which one changes from picture to picture."""

from collections.abc import Collection

import torch
from torch import Tensor

from zoo.data.synthetic.garments import GARMENTS, draw_garments
from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld, grey_domain, one_of, split_counts
from zoo.data.synthetic.stroke_digits import DIGITS, SIDE, draw_digits
from zoo.domain import ImageDomain

REGIONS = ("boxes", "strokes")


class SwitchingPanels(PictureWorld):
    """A generated digit and a garment side by side, 28 x 56 pixels, in either order: which digit is it?

    The garment is one of ten silhouettes with a texture, and independent of the digit, as is the side that each is on.
    A selector that picks the garment's panel is wrong; one that tells the label by where it picks is caught, because
    the side says nothing. The factor is "digit"; "distractor", the garment, can be removed as well. The ceiling is 1,
    that of the digits.

    After the switching panels of Senetaire et al.: "Explainability as Statistical Inference", ICML 2023, arXiv
    2212.03131, whose panels are pictures of MNIST and Fashion-MNIST.

    Args:
        regions: of the digit, "boxes", its panel of 28 x 28 pixels, or its "strokes", the pixels that are not black.
        count: pictures to train on.
        test_count: pictures to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the pictures and the shuffles.
        val_fraction: as many times `count` are the pictures to validate on.
    """

    factors = ("digit",)
    removable = ("digit", "distractor")

    def __init__(
        self,
        regions: str = "boxes",
        count: int = 10_000,
        test_count: int = 2000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        one_of("regions", regions, REGIONS)
        self.strokes, self.counts = regions == "strokes", split_counts(count, test_count, val_fraction)

    @property
    def ceiling(self) -> float:
        return 1.0

    def make_domain(self) -> ImageDomain:
        return grey_domain(DIGITS, (SIDE, 2 * SIDE), 0.15, 0.28)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        labels, kinds = torch.randint(10, (2, count), generator=generator)
        swapped = torch.randint(2, (count,), generator=generator).bool()
        panels = Panels(draw_digits(labels, generator), draw_garments(kinds, generator), swapped, self.strokes)
        both = zip(labels.tolist(), kinds.tolist(), strict=True)
        names = [f"{split} panels {i}: {digit} and {GARMENTS[kind]}" for i, (digit, kind) in enumerate(both)]
        return Paintings(panels, labels, self.make_domain(), names)


class Panels(Painted):
    """Digits and garments (N, 1, H, W), uint8, side by side: the digit on the left, or on the right where swapped (N,).

    Args:
        digits, garments, swapped: see above.
        strokes: the region is where the digit is not black, instead of its whole panel.
    """

    def __init__(self, digits: Tensor, garments: Tensor, swapped: Tensor, strokes: bool) -> None:
        self.digits, self.garments, self.swapped, self.strokes = digits, garments, swapped, strokes

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        digits = self.digits[rows] * ("digit" not in without)
        return self._beside(rows, digits, self.garments[rows] * ("distractor" not in without))

    def regions(self, rows: list[int]) -> Tensor:
        digits = self.digits[rows]
        region = (digits > 0).float() if self.strokes else torch.ones(digits.shape)
        return self._beside(rows, region, torch.zeros(digits.shape))

    def _beside(self, rows: list[int], digits: Tensor, garments: Tensor) -> Tensor:
        swapped = self.swapped[rows, None, None, None]
        return torch.where(swapped, torch.cat([garments, digits], 3), torch.cat([digits, garments], 3))
