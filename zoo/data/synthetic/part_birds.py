"""Drawn birds of five parts: a world of which it is known what each class is made of, and where each part is."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from math import pi, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.base.images import Pictures
from zoo.data.synthetic.bird_drawing import (
    BACKGROUND,
    CARDINALITIES,
    OBJECT_COLOURS,
    OBJECTS,
    PARTS,
    Scenes,
    objects_seen,
    render,
)
from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld
from zoo.domain import ImageDomain

MOST = prod(CARDINALITIES)  # classes
SETS = 2 ** len(PARTS)
CONCEPTS = {part: tuple(f"{part} {i + 1}" for i in range(n)) for part, n in zip(PARTS, CARDINALITIES, strict=True)}


class PartBirds(PictureWorld):
    """Birds whose class is the combination of their five parts, before a background of distracting objects.

    A flat version of FunnyBirds (Hesse, Schaub-Meyer, Roth: "FunnyBirds: A Synthetic Vision Dataset for a Part-Based
    Analysis of Explainable AI Methods", ICCV 2023, arXiv 2308.06248, section 3): 4 beaks, 3 eyes, 4 kinds of feet,
    9 tails and 6 wings; classes are drawn from the 2,592 combinations. Place, size, angle and direction of the bird and
    up to `background` objects behind it are random and tell nothing.

    Of some training images random parts are left out, so that a model knows birds without them. Such a bird belongs to
    every class that its other parts fit. It keeps the label of the one it was drawn as, which is any of these with
    equal chance (the paper averages the loss over them, which is the same in expectation). Birds to validate and to
    test on are complete, and no other class has the same parts, so their label is certain: the ceiling is 1.

    Items have "regions" (5, H, W) in {0, 1}, where each part is seen, unless they are augmented; and "concepts" (26,),
    which beak, eye, foot, tail and wing it is; NaN for a part that is left out.

    Args:
        side: of the pictures in pixels, 32 to 256.
        classes: how many, 2 to 2592.
        count, val_count, test_count: pictures of each split.
        removal: share of the training pictures of which 0 to 5 parts, as many as chance wills, are left out.
        background: objects behind the bird, at most 100.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the classes, the scenes and the shuffles.
        augment, views: see `zoo.data.ImageData`.

    Raises:
        ValueError: an argument out of range.
    """

    factors = PARTS

    def __init__(
        self,
        side: int = 64,
        classes: int = 50,
        count: int = 5000,
        val_count: int = 500,
        test_count: int = 1000,
        removal: float = 0.5,
        background: int = 12,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        augment: str = "none",
        views: int = 1,
    ) -> None:
        super().__init__(batch_size, workers, seed, augment=augment, views=views)
        if not 32 <= side <= 256 or not 2 <= classes <= MOST:
            raise ValueError(f"expected a side of 32 to 256 and 2 to {MOST} classes; got {side} and {classes}.")
        if min(count, val_count, test_count) < 1 or not 0 <= removal <= 1 or not 0 <= background <= 100:
            raise ValueError(
                "expected counts from 1, 0 <= removal <= 1 and 0 <= background <= 100; got "
                f"{count}, {val_count}, {test_count}, {removal} and {background}."
            )
        self.side, self.classes, self.removal, self.background = side, classes, removal, background
        self.counts = {"train": count, "val": val_count, "test": test_count}
        self.removable = (*PARTS, BACKGROUND, *(f"{BACKGROUND} {i + 1}" for i in range(background)))

    @property
    def ceiling(self) -> float:
        return 1.0

    def make_domain(self) -> ImageDomain:
        return ImageDomain(
            classes=tuple(f"bird {c + 1}" for c in range(self.classes)),
            concepts=tuple(name for names in CONCEPTS.values() for name in names),
            concept_groups=CONCEPTS,
            exclusive=PARTS,
            size=(self.side, self.side),
            channels=3,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )

    @cached_property
    def class_parts(self) -> Tensor:
        """(C, 5) int64: which beak, eye, foot, tail and wing each class has; no two classes have the same."""
        draw = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(MOST, generator=draw)[: self.classes]
        return torch.stack(torch.unravel_index(chosen, CARDINALITIES), 1)

    def compatible(self, glyphs: Tensor) -> Tensor:
        """(N, C) bool: which classes birds (N, 5) may be of, where -1 is a part that is left out.

        Raises:
            ValueError: another shape.
        """
        if glyphs.ndim != 2 or glyphs.shape[1] != len(PARTS):
            raise ValueError(f"expected glyphs (N, {len(PARTS)}), -1 for no part; got {tuple(glyphs.shape)}.")
        fits = torch.ones(len(glyphs), self.classes, dtype=torch.bool)
        for own, wanted in zip(glyphs.T[..., None], self.class_parts.T, strict=True):
            fits &= (own == wanted) | (own < 0)
        return fits

    def minimal_sufficient(self, c: int) -> list[tuple[int, ...]]:
        """The sets of parts that tell class c from all others, without those that hold another such set.

        Raises:
            ValueError: there is no class c.
        """
        if not 0 <= c < self.classes:
            raise ValueError(f"expected a class of 0 to {self.classes - 1}; got {c}.")
        sets, bits = torch.arange(SETS)[:, None], 1 << torch.arange(len(PARTS))
        held = sets & bits != 0  # (32, 5)
        differs = self.class_parts != self.class_parts[c]  # (C, 5)
        enough = (held.long() @ differs.long().T == 0).sum(1) == 1  # class c alone agrees on all of the set
        larger = (enough[sets & ~bits] & held).any(1)  # is enough even without one of its parts
        least = [tuple(row.nonzero()[:, 0].tolist()) for row in held[enough & ~larger]]
        return sorted(least, key=lambda parts: (len(parts), parts))

    def pictures(self, split: str, augment: str) -> Pictures:
        birds = self._splits[split]
        birds.sources[0]  # paints all of them here, so that no process that loads has to
        if augment == "none":
            return birds
        return Pictures(birds.sources, birds.targets, birds.domain, birds.names, None, augment, birds.concepts)

    def subsets(self, split: str, rows: Sequence[int] | Tensor) -> Iterator[Tensor]:
        """For each row (32, 3, side, side): the bird with every set of parts; set i has part p if bit p of i is set.

        Raises:
            ValueError: an unknown split, or no rows, or rows that do not exist.
        """
        scenes, domain = self._scenes(split, rows), self.make_domain()
        absent = torch.arange(SETS)[:, None] >> torch.arange(len(PARTS)) & 1 == 0
        for i in range(len(scenes)):
            whole = scenes[[i] * SETS]
            chosen = Scenes(whole.glyphs.masked_fill(absent, -1), whole.place, whole.objects, whole.ground)
            yield domain.normalise(render(chosen, self.side)[0])

    def masks(self, split: str, rows: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """(n, 5, side, side) and (n, background, side, side) bool: where parts and objects are seen.

        Raises:
            ValueError: an unknown split, or no rows, or rows that do not exist.
        """
        scenes = self._scenes(split, rows)
        return _unpacked(render(scenes, self.side)[1]).bool(), objects_seen(scenes, self.side)

    def _scenes(self, split: str, rows: Sequence[int] | Tensor) -> Scenes:
        wanted, birds = self.checked(split, rows), self._splits[split].sources
        return birds.scenes[wanted]

    def draw(self, split: str, count: int, generator: torch.Generator) -> "Birds":
        targets = torch.randperm(count, generator=generator) % self.classes
        glyphs = self.class_parts[targets]
        if split == "train":
            fewer = torch.randint(len(PARTS) + 1, (count,), generator=generator)
            fewer *= torch.rand(count, generator=generator) < self.removal
            ranks = torch.rand(count, len(PARTS), generator=generator).argsort(1).argsort(1)
            glyphs = glyphs.masked_fill(ranks < fewer[:, None], -1)
        scenes = self._random_scenes(glyphs, generator)
        labels = [_one_hot(*one) for one in zip(glyphs.T, CARDINALITIES, strict=True)]
        names = [f"{split} bird {i}" for i in range(count)]
        return Birds(DrawnBirds(scenes, self.side), targets, self.make_domain(), names, concepts=torch.cat(labels, 1))

    def _random_scenes(self, glyphs: Tensor, generator: torch.Generator) -> Scenes:
        """Birds with these parts (N, 5), anywhere, before anything."""
        size = (len(glyphs), self.background)

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(*size, generator=generator, dtype=torch.float64)

        def numbers(high: int, *size: int) -> Tensor:
            return torch.randint(high, size, generator=generator)

        x, y = uniform(0.4, 0.6, 2, size[0])
        unit, angle, facing = uniform(0.15, 0.21, size[0]), uniform(-0.45, 0.45, size[0]), 2 * numbers(2, size[0]) - 1
        there = torch.arange(self.background) < numbers(self.background + 1, size[0], 1)
        shape = numbers(len(OBJECTS), *size).masked_fill(~there, -1)
        where, radius = uniform(0, 1, 2, *size), uniform(0.04, 0.11, *size)
        objects = torch.stack([shape, numbers(len(OBJECT_COLOURS), *size), *where, radius, uniform(0, pi, *size)], 2)
        ground = (205 + numbers(31, size[0], 3)).to(torch.uint8)
        return Scenes(glyphs, torch.stack([x, y, unit, angle, facing], 1), objects, ground)


class DrawnBirds(Painted):
    """Birds that are painted together when the first is asked for, and again, one by one, without what they have."""

    def __init__(self, scenes: Scenes, side: int) -> None:
        self.scenes, self.side = scenes, side

    @cached_property
    def rendered(self) -> tuple[Tensor, Tensor]:
        """All pictures (N, 3, side, side), and where parts are seen (N, side, side), as bits."""
        return render(self.scenes, self.side)

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.rendered[0][i]

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
        return render(self.scenes[rows].without(without), self.side)[0]

    def regions(self, rows: list[int]) -> Tensor:
        return _unpacked(self.rendered[1][rows])


class Birds(Paintings):
    """Drawn birds as items."""

    sources: DrawnBirds


def _unpacked(bits: Tensor) -> Tensor:
    """(n, 5, H, W) float in {0, 1} of bits (n, H, W)."""
    shifts = torch.arange(len(PARTS), dtype=torch.uint8).view(-1, 1, 1)
    return (bits[:, None] >> shifts & 1).float()


def _one_hot(glyphs: Tensor, count: int) -> Tensor:
    """(N, count); NaN where there is none."""
    return F.one_hot(glyphs.clamp_min(0), count).float().masked_fill((glyphs < 0)[:, None], torch.nan)
