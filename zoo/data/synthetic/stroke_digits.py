"""Generated digits in ten stroke fonts: a substitute for handwriting that needs no download."""

from collections.abc import Collection

import torch
from torch import Tensor

from zoo.data.synthetic.images import CountedBenchmark, RenderedPictures, Renderer, grey_domain
from zoo.data.synthetic.stroke_drawing import SIDE, draw_digits
from zoo.domain import ImageDomain

DIGITS = tuple(map(str, range(10)))


class StrokeDigits(CountedBenchmark):
    """Generated digits, 28 x 28 pixels, in ten fonts; the class is the digit.

    The factor is "digit"; its region is all pixels that are not black. The ceiling is 1: under every transformation
    that is drawn, the shapes of two digits stay distinct.

    Args:
        count: number of training pictures.
        test_count: number of test pictures.
        batch_size, workers, seed, val_fraction: see `CountedBenchmark`.
    """

    factors = ("digit",)
    ceiling = 1.0

    def make_domain(self) -> ImageDomain:
        return grey_domain(DIGITS, (SIDE, SIDE), 0.14, 0.3)

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        labels = torch.randint(10, (count,), generator=generator)
        names = [f"{split} digit {i}: {label}" for i, label in enumerate(labels.tolist())]
        return RenderedPictures(Strokes(draw_digits(labels, generator)), labels, self.make_domain(), names)


class Strokes(Renderer):
    """Digits on black.

    Args:
        digits: (N, 1, H, W), uint8.
    """

    def __init__(self, digits: Tensor) -> None:
        self.digits = digits

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        return self.digits[rows] * ("digit" not in without)

    def regions(self, rows: list[int]) -> Tensor:
        return (self.digits[rows] > 0).float()
