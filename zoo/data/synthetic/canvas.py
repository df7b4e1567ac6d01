"""Two handwritten digits on a canvas: a task of which it is known where its evidence lies."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.module import stratified_split
from zoo.data.real.torchvision import TorchvisionData
from zoo.domain import ImageDomain

SIDE = 28  # of a digit
LABELS = {
    "max": tuple(map(str, range(10))),
    "sum": tuple(map(str, range(19))),
    "parity_of_sum": ("even", "odd"),
    "pair": tuple(f"{low} and {high}" for high in range(10) for low in range(high + 1)),
}
REGIONS = ("boxes", "strokes")


class CanvasDigits(ImageData):
    """Two digits of MNIST at places that do not overlap: which is the larger one, or what is their sum?

        label           classes   both digits matter
        max             10        unless one is a 9; a sum of what each digit says of every class
        sum             19        likewise such a sum; always both
        pair            55        likewise; which two digits, in either order
        parity_of_sum   2         always both, and no sum of what each says: one group must see the two

    Batches have "regions" (2, H, W) in {0, 1}, the pixels of each digit, for measurements; nothing learns from them.
    Test canvases are made of MNIST's test pictures; those that validation canvases are made of are in no training
    canvas.

    Args:
        root: folder that holds MNIST, see `zoo.data.TorchvisionData`.
        download: fetch it if it is not there.
        label: see above.
        regions: of each digit, "boxes" of 28 x 28 pixels or its "strokes", the pixels that are not black.
        side: of the canvas in pixels, at least 56.
        count: canvases to train on.
        test_count: canvases to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the splits, the canvases and the shuffles.
        val_fraction: share of MNIST's training pictures held out for validation; as many times `count` are the
            canvases made of them.
    """

    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        label: str = "max",
        side: int = 64,
        count: int = 20_000,
        test_count: int = 5_000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        regions: str = "boxes",
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        for name, value, known in (("label", label, LABELS), ("regions", regions, REGIONS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
        if side < 2 * SIDE or count < 10 or test_count < 1:
            raise ValueError(
                f"expected side >= {2 * SIDE}, count >= 10 and test_count >= 1; got {side}, {count} and {test_count}."
            )
        self.digits = TorchvisionData("MNIST", root, download, seed=seed)
        self.label, self.side, self.count, self.test_count = label, side, count, test_count
        self.strokes = regions == "strokes"

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def make_domain(self) -> ImageDomain:
        one = ImageDomain.from_dict(self.digits.domain)
        size = (self.side, self.side)
        return ImageDomain(classes=LABELS[self.label], size=size, channels=1, mean=one.mean, std=one.std)

    def pictures(self, split: str, augment: str) -> "Canvases":
        return self._splits[split]

    @cached_property
    def _splits(self) -> dict[str, "Canvases"]:
        train, test = (self.digits.pictures(split, "none") for split in ("train", "test"))
        kept, held = stratified_split(train.targets, self.val_fraction, self.seed)
        val_count = max(round(self.count * self.val_fraction), 1)
        return {
            "train": self._draw("train", train, torch.tensor(kept), self.count, 0),
            "val": self._draw("val", train, torch.tensor(held), val_count, 1),
            "test": self._draw("test", test, torch.arange(len(test)), self.test_count, 2),
        }

    def _draw(self, split: str, source: Pictures, usable: Tensor, count: int, stream: int) -> "Canvases":
        """Canvases of some pictures of `source`; each split draws from a random stream of its own."""
        draw = torch.Generator().manual_seed(3 * self.seed + stream)
        rows = usable[torch.randint(len(usable), (count, 2), generator=draw)]
        digits = source.targets[rows]
        names = [f"{split} canvas {i}: {a}, {b}" for i, (a, b) in enumerate(digits.tolist())]
        corners = places(count, self.side, draw)
        pasted = Pasted(source.sources, rows, corners, self.side, self.strokes)
        return Canvases(pasted, label_of(digits, self.label), self.make_domain(), names)


class Pasted:
    """Grey pictures (M, 1, h, w) pasted on black canvases when asked for: (1, side, side), or (n, 1, side, side).

    Args:
        pictures: uint8.
        rows: (N, D) which of them each canvas holds.
        corners: (N, D, 2) top and left of each.
        side: of the canvas.
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
        """(n, D, side, side) in {0, 1}: where each picture, or what is drawn on it, lies."""
        where = self._where(i)
        inside = (self.pictures[self.rows[i]].flatten(2) > 0).float() if self.strokes else torch.ones(where.shape)
        empty = torch.zeros(*where.shape[:2], self.side**2)
        return empty.scatter_(2, where, inside).unflatten(2, (self.side, self.side))

    def _where(self, i: list[int]) -> Tensor:
        """(n, D, h w) the number of the canvas's pixel under each pixel of each picture."""
        height, width = self.pictures.shape[-2:]
        inner = (torch.arange(height)[:, None] * self.side + torch.arange(width)).flatten()
        return (self.corners[i] @ torch.tensor([self.side, 1]))[..., None] + inner


class Canvases(Pictures):
    """Pasted pictures, whose items also hold "regions" (D, side, side)."""

    sources: Pasted

    def _item(self, i: int, x: Tensor) -> dict[str, Any]:
        return {**super()._item(i, x), "regions": self.sources.regions([i])[0]}


def label_of(digits: Tensor, label: str) -> Tensor:
    """(N,) the number of the class, see `CanvasDigits`, of two digits (N, 2) each."""
    if label == "pair":
        low, high = digits.amin(1), digits.amax(1)
        return high * (high + 1) // 2 + low
    if label == "max":
        return digits.amax(1)
    return digits.sum(1) % 2 if label == "parity_of_sum" else digits.sum(1)


def places(count: int, side: int, draw: torch.Generator, tries: int = 64) -> Tensor:
    """(count, 2, 2) corners of two digits that do not overlap, equally likely; after many tries in opposite corners."""
    corners = torch.randint(0, side - SIDE + 1, (count, tries, 2, 2), generator=draw)
    apart = ((corners[:, :, 0] - corners[:, :, 1]).abs() >= SIDE).any(2)  # (count, tries)
    chosen = corners[torch.arange(count), apart.to(torch.uint8).argmax(1)]
    corner = torch.tensor([[0, 0], [side - SIDE, side - SIDE]])
    return torch.where(apart.any(1)[:, None, None], chosen, corner)
