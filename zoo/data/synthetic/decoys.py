"""Digits beside a decoy that gives the label away while training, and misleads in the test."""

from collections.abc import Collection

import torch
from torch import Tensor

from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld, grey_domain, one_of, over, split_counts
from zoo.data.synthetic.stroke_digits import DIGITS, SIDE, draw_digits
from zoo.domain import ImageDomain

KINDS = ("colour", "corner")
NOISE = 0.25  # of the labels of "colour" are flipped
FLIPS = {"train": (0.1, 0.2), "val": (0.1, 0.2), "test": (0.9, 0.9)}  # of the colours, in the two environments
INKS = torch.tensor([[255, 0, 0], [0, 255, 0]], dtype=torch.uint8)[..., None, None]
GREY = 85  # as much light as a red or green of 255
PATCH, STEP = 4, 25  # side of the corner's patch; its grey levels are 255, 230, ..., 30
RADIUS = 8.0


class DecoyDigits(PictureWorld):
    """Generated digits with a decoy: their colour, or a grey patch in a corner.

        kind     label                              decoy, to train and validate on        in the test
        colour   is it 5 or more? 25 % are wrong    red for no, green for yes; 10 % of     90 % the other way round
                                                    one half, 20 % of the other are not
        corner   which digit                        a patch of 4 x 4 in one of the         the grey of a digit drawn
                                                    corners, 255 - 25 digit bright         at random

    The factors are "digit" and "decoy". A colour lies where the strokes are, so that both regions are equal; a digit's
    region does not hold what the patch hides. Removed, a colour is grey and a patch black; a digit is black, and one
    with a colour becomes a disc that wears it.

    The ceiling is what the shape reaches, in every split: 0.75 (of the labels are right) and 1. Who believes the decoy
    reaches `decoy_accuracy`, more while training and far less in the test. In training, shape and colour together say
    no more than the colour: 0.85 / 0.15 outweighs 0.75 / 0.25.

    "colour" is Arjovsky et al.: "Invariant Risk Minimization", arXiv 1907.02893, section 5.2; "corner" is Ross et al.:
    "Right for the Right Reasons", IJCAI 2017, arXiv 1703.03717. Both take their digits from MNIST.

    Args:
        kind: see above.
        count: digits to train on.
        test_count: digits to test on.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the digits, the decoys and the shuffles.
        val_fraction: as many times `count` are the digits to validate on.
    """

    factors = removable = ("digit", "decoy")

    def __init__(
        self,
        kind: str = "colour",
        count: int = 10_000,
        test_count: int = 2000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction)
        one_of("kind", kind, KINDS)
        self.kind, self.counts = kind, split_counts(count, test_count, val_fraction)

    @property
    def ceiling(self) -> float:
        return 1 - NOISE if self.kind == "colour" else 1.0

    @property
    def decoy_accuracy(self) -> dict[str, float]:
        """By split, the expected accuracy of a model that reads the decoy as in training, and nothing else."""
        if self.kind == "colour":
            return {split: 1 - sum(flips) / 2 for split, flips in FLIPS.items()}
        return {"train": 1.0, "val": 1.0, "test": 0.1}

    def make_domain(self) -> ImageDomain:
        if self.kind == "corner":
            return grey_domain(DIGITS, (SIDE, SIDE), 0.15, 0.31)
        size, mean, std = (SIDE, SIDE), (0.07,) * 3, (0.22,) * 3  # blue has those of red and green
        return ImageDomain(classes=("below 5", "5 or more"), size=size, channels=3, mean=mean, std=std)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        labels = torch.randint(10, (count,), generator=generator)
        digits = draw_digits(labels, generator)
        names = [f"{split} digit {i}: {label}" for i, label in enumerate(labels.tolist())]
        if self.kind == "corner":
            shown = labels if split != "test" else torch.randint(10, (count,), generator=generator)
            corners = torch.randint(2, (count, 2), generator=generator) * (SIDE - PATCH)
            return Paintings(Patched(digits, 255 - STEP * shown, corners), labels, self.make_domain(), names)
        targets = (labels >= 5) ^ (torch.rand(count, generator=generator) < NOISE)
        environment = torch.randint(2, (count,), generator=generator)
        flipped = torch.rand(count, generator=generator) < torch.tensor(FLIPS[split])[environment]
        colours = (targets ^ flipped).long()
        return Paintings(Coloured(digits, colours), targets.long(), self.make_domain(), names)


class Coloured(Painted):
    """Digits (N, 1, H, W), uint8, in red (0) or green (1) by colours (N,), on black."""

    def __init__(self, digits: Tensor, colours: Tensor) -> None:
        self.digits, self.colours = digits, colours
        at = torch.arange(SIDE) - (SIDE - 1) / 2
        away = (at[:, None].square() + at.square()).sqrt()
        self.disc = (RADIUS + 0.5 - away).clamp(0, 1).mul(255).round().to(torch.uint8)

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        ink = torch.full((1, 3, 1, 1), GREY) if "decoy" in without else INKS[self.colours[rows]]
        alpha = self.disc.expand(len(rows), 1, -1, -1) if "digit" in without else self.digits[rows]
        return over(torch.zeros((), dtype=torch.uint8), ink, alpha)

    def regions(self, rows: list[int]) -> Tensor:
        return (self.digits[rows] > 0).float().expand(-1, 2, -1, -1)


class Patched(Painted):
    """Digits (N, 1, H, W), uint8, with a patch of a grey level (N,) whose top and left are at corners (N, 2)."""

    def __init__(self, digits: Tensor, levels: Tensor, corners: Tensor) -> None:
        self.digits, self.levels, self.corners = digits, levels.to(torch.uint8), corners

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        digits = self.digits[rows] * ("digit" not in without)
        if "decoy" in without:
            return digits
        return torch.where(self._patch(rows), self.levels[rows, None, None, None], digits)

    def regions(self, rows: list[int]) -> Tensor:
        patch = self._patch(rows)
        return torch.cat([(self.digits[rows] > 0) & ~patch, patch], 1).float()

    def _patch(self, rows: list[int]) -> Tensor:
        """(n, 1, H, W) whether a pixel is of the patch."""
        height, width = self.digits.shape[-2:]
        top, left = self.corners[rows].T[..., None]
        down, across = torch.arange(height) - top, torch.arange(width) - left
        inside = ((down >= 0) & (down < PATCH))[:, :, None] & ((across >= 0) & (across < PATCH))[:, None, :]
        return inside[:, None]
