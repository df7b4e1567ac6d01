"""Two handwritten digits on a canvas, so that the location of the evidence is known."""

from typing import Any

import torch
from torch import Tensor

from zoo.data.base.images import Pictures
from zoo.data.real.composed_digits import ComposedDigits
from zoo.domain import ImageDomain
from zoo.utils.checks import check_at_least, check_choice

SIDE = 28  # of a digit
LABELS = {
    "max": tuple(map(str, range(10))),
    "sum": tuple(map(str, range(19))),
    "parity_of_sum": ("even", "odd"),
    "pair": tuple(f"{low} and {high}" for high in range(10) for low in range(high + 1)),
}
REGIONS = ("boxes", "strokes")


class CanvasDigits(ComposedDigits):
    """Two MNIST digits at positions that do not overlap; the class is the larger one, or their sum.

        label           classes   are both digits needed?
        max             10        unless one is a 9; additive: a sum of class scores of each digit
        sum             19        always; additive
        pair            55        always; additive; which two digits, in either order
        parity_of_sum   2         always, and not additive: one group must cover both digits

    Batches have "regions" (2, H, W) in {0, 1}, the pixels of each digit. They are used by metrics only, never for
    training.

    Args:
        root: folder that contains MNIST, see `TorchvisionData`.
        label: the class, see above.
        side: of the canvas in pixels, at least 56.
        regions: of each digit: "boxes", 28 x 28 pixels, or "strokes", the pixels that are not black.
        count: number of training canvases.
        test_count: number of test canvases.
        **composed: the other options of `ComposedDigits`.
    """

    def __init__(
        self,
        root: str | None = None,
        label: str = "max",
        side: int = 64,
        regions: str = "boxes",
        count: int = 20_000,
        test_count: int = 5_000,
        **composed: Any,
    ) -> None:
        super().__init__(root, count=count, test_count=test_count, **composed)
        check_choice(LABELS, label=label)
        check_choice(REGIONS, regions=regions)
        check_at_least(2 * SIDE, side=side)
        self.label, self.side, self.strokes = label, side, regions == "strokes"

    def make_domain(self) -> ImageDomain:
        digit = self.digit_domain
        size = (self.side, self.side)
        return ImageDomain(classes=LABELS[self.label], size=size, channels=1, mean=digit.mean, std=digit.std)

    def compose(
        self, split: str, source: Pictures, usable: Tensor, count: int, generator: torch.Generator
    ) -> "Canvases":
        rows = usable[torch.randint(len(usable), (count, 2), generator=generator)]
        digits = source.targets[rows]
        names = [f"{split} canvas {i}: {a}, {b}" for i, (a, b) in enumerate(digits.tolist())]
        corners = places(count, self.side, generator)
        pasted = Pasted(source.sources, rows, corners, self.side, self.strokes)
        return Canvases(pasted, label_of(digits, self.label), self.make_domain(), names)


class Pasted:
    """Grey pictures pasted on black canvases on access: (1, side, side), or (n, 1, side, side).

    Args:
        pictures: (M, 1, h, w), uint8.
        rows: (N, D) row numbers of the pictures on each canvas.
        corners: (N, D, 2) top and left of each picture.
        side: of the canvas in pixels.
        strokes: regions are the pixels that are not black, instead of the whole pictures.
    """

    def __init__(self, pictures: Tensor, rows: Tensor, corners: Tensor, side: int, strokes: bool = False) -> None:
        self.pictures, self.rows, self.corners, self.side, self.strokes = pictures, rows, corners, side, strokes

    def __getitem__(self, i: int | list[int]) -> Tensor:
        if isinstance(i, int):
            return self[[i]][0]
        pixels = self.pictures[self.rows[i]].flatten(2)  # (n, D, h w)
        canvas = pixels.new_zeros(len(pixels), self.side**2)
        return canvas.scatter_(1, self._where(i).flatten(1), pixels.flatten(1)).view(-1, 1, self.side, self.side)

    def regions(self, i: list[int]) -> Tensor:
        """(n, D, side, side) in {0, 1}: the pixels of each picture, or of the strokes on it."""
        where = self._where(i)
        inside = (self.pictures[self.rows[i]].flatten(2) > 0).float() if self.strokes else torch.ones(where.shape)
        empty = torch.zeros(*where.shape[:2], self.side**2)
        return empty.scatter_(2, where, inside).unflatten(2, (self.side, self.side))

    def _where(self, i: list[int]) -> Tensor:
        """(n, D, h w) index of the canvas pixel under each pixel of each picture."""
        height, width = self.pictures.shape[-2:]
        inner = (torch.arange(height)[:, None] * self.side + torch.arange(width)).flatten()
        return (self.corners[i] @ torch.tensor([self.side, 1]))[..., None] + inner


class Canvases(Pictures):
    """Pasted pictures, whose items also have "regions" (D, side, side)."""

    sources: Pasted

    def _item(self, i: int, x: Tensor) -> dict[str, Any]:
        return {**super()._item(i, x), "regions": self.sources.regions([i])[0]}


def label_of(digits: Tensor, label: str) -> Tensor:
    """(N,) class numbers of pairs of digits (N, 2), see `CanvasDigits`."""
    if label == "pair":
        low, high = digits.amin(1), digits.amax(1)
        return high * (high + 1) // 2 + low
    if label == "max":
        return digits.amax(1)
    return digits.sum(1) % 2 if label == "parity_of_sum" else digits.sum(1)


def places(count: int, side: int, draw: torch.Generator, tries: int = 64) -> Tensor:
    """(count, 2, 2) corners of two digits that do not overlap, uniform; after `tries` draws in opposite corners."""
    corners = torch.randint(0, side - SIDE + 1, (count, tries, 2, 2), generator=draw)
    apart = ((corners[:, :, 0] - corners[:, :, 1]).abs() >= SIDE).any(2)  # (count, tries)
    chosen = corners[torch.arange(count), apart.to(torch.uint8).argmax(1)]
    corner = torch.tensor([[0, 0], [side - SIDE, side - SIDE]])
    return torch.where(apart.any(1)[:, None, None], chosen, corner)
