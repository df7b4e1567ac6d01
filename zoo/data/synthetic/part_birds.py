"""Drawn birds of five parts: the parts that define each class, and where each part is, are known."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.base.images import Pictures
from zoo.data.synthetic.bird_drawing import objects_seen, render
from zoo.data.synthetic.bird_scenes import BACKGROUND, Scenes, random_scenes
from zoo.data.synthetic.bird_shapes import CARDINALITIES, PARTS
from zoo.data.synthetic.images import RenderedBenchmark, RenderedPictures, Renderer
from zoo.domain import ImageDomain
from zoo.utils.checks import check_at_least, check_choice

MOST = prod(CARDINALITIES)  # classes
SETS = 2 ** len(PARTS)
CONCEPTS = {part: tuple(f"{part} {i + 1}" for i in range(n)) for part, n in zip(PARTS, CARDINALITIES, strict=True)}


class PartBirds(RenderedBenchmark):
    """Birds whose class is the combination of their five parts, in front of distracting objects.

    A two-dimensional version of FunnyBirds (Hesse, Schaub-Meyer, Roth: "FunnyBirds: A Synthetic Vision Dataset for a
    Part-Based Analysis of Explainable AI Methods", ICCV 2023, arXiv 2308.06248, section 3): 4 beaks, 3 eyes, 4 kinds of
    feet, 9 tails and 6 wings; classes are drawn from the 2,592 combinations. Position, size, angle and direction of the
    bird, and up to `background` objects behind it, are random and carry no information.

    In some training images random parts are missing, so that a model has seen such birds. They fit every class that
    agrees on the remaining parts, and keep the label of the class they were drawn from, which is any of these with
    equal probability. (Differs from the paper, which averages the loss over them: equal in expectation.) Validation and
    test birds are complete, and no two classes have the same parts, so that the ceiling is 1.

    Items have "regions" (5, H, W) in {0, 1}, the visible pixels of each part, unless they are augmented; and "concepts"
    (26,), the variant of beak, eye, foot, tail and wing; NaN for a missing part. Variants have the boxes of their
    visible pixels, for `concept_crops`.

    Args:
        side: of the pictures in pixels, 32 to 256.
        classes: number of classes, 2 to 2592.
        count, val_count, test_count: number of pictures of each split.
        removal: share of the training pictures in which a random number of parts, 0 to 5, is missing.
        background: largest number of objects behind the bird, at most 100.
        masks: parts whose visible pixels together are the mask "relevant" of items, for losses that use masks.
        missing: what the concepts say of the variants of a missing part: "unknown" (NaN; parts are exclusive groups,
            of which one variant is always present) or "absent" (0; groups are not exclusive).
        **loading: the options of `ImageData`.

    Raises:
        ValueError: an argument is out of range.
    """

    factors = PARTS
    ceiling = 1.0

    def __init__(
        self,
        side: int = 64,
        classes: int = 50,
        count: int = 5000,
        val_count: int = 500,
        test_count: int = 1000,
        removal: float = 0.5,
        background: int = 12,
        masks: list[str] | None = None,
        missing: str = "unknown",
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if not 32 <= side <= 256 or not 2 <= classes <= MOST:
            raise ValueError(f"expected a side of 32 to 256 and 2 to {MOST} classes; got {side} and {classes}.")
        if not 0 <= removal <= 1 or not 0 <= background <= 100:
            raise ValueError(f"expected 0 <= removal <= 1 and 0 <= background <= 100; got {removal} and {background}.")
        self.mark(masks)
        check_at_least(1, count=count, val_count=val_count, test_count=test_count)
        check_choice(("unknown", "absent"), missing=missing)
        self.side, self.classes, self.removal, self.background = side, classes, removal, background
        self.missing = missing
        self.counts = {"train": count, "val": val_count, "test": test_count}
        self.also_removable = (BACKGROUND, *(f"{BACKGROUND} {i + 1}" for i in range(background)))

    def make_domain(self) -> ImageDomain:
        return ImageDomain(
            classes=tuple(f"bird {c + 1}" for c in range(self.classes)),
            concepts=tuple(name for names in CONCEPTS.values() for name in names),
            concept_groups=CONCEPTS,
            exclusive=PARTS if self.missing == "unknown" else (),
            size=(self.side, self.side),
            channels=3,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )

    @cached_property
    def class_parts(self) -> Tensor:
        """(C, 5) int64: the beak, eye, foot, tail and wing of each class; no two classes are equal."""
        draw = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(MOST, generator=draw)[: self.classes]
        return torch.stack(torch.unravel_index(chosen, CARDINALITIES), 1)

    def compatible(self, glyphs: Tensor) -> Tensor:
        """(N, C) bool: the classes that birds (N, 5) fit, where -1 is a missing part.

        Raises:
            ValueError: wrong shape.
        """
        if glyphs.ndim != 2 or glyphs.shape[1] != len(PARTS):
            raise ValueError(f"expected glyphs (N, {len(PARTS)}), -1 for a missing part; got {tuple(glyphs.shape)}.")
        fits = torch.ones(len(glyphs), self.classes, dtype=torch.bool)
        for own, wanted in zip(glyphs.T[..., None], self.class_parts.T, strict=True):
            fits &= (own == wanted) | (own < 0)
        return fits

    def minimal_sufficient(self, c: int) -> list[tuple[int, ...]]:
        """The minimal sets of parts that distinguish class c from all others.

        Raises:
            ValueError: there is no class c.
        """
        if not 0 <= c < self.classes:
            raise ValueError(f"expected a class of 0 to {self.classes - 1}; got {c}.")
        sets, bits = torch.arange(SETS)[:, None], 1 << torch.arange(len(PARTS))
        held = sets & bits != 0  # (32, 5)
        differs = self.class_parts != self.class_parts[c]  # (C, 5)
        enough = (held.long() @ differs.long().T == 0).sum(1) == 1  # only class c agrees on all parts of the set
        larger = (enough[sets & ~bits] & held).any(1)  # sufficient even without one of its parts
        least = [tuple(row.nonzero()[:, 0].tolist()) for row in held[enough & ~larger]]
        return sorted(least, key=lambda parts: (len(parts), parts))

    def pictures(self, split: str, augment: str) -> Pictures:
        birds = self._rendered(split)
        birds.sources[0]  # renders all of them here, before loading processes are forked
        if augment == "none":
            return birds
        return birds.augmented(augment)

    def concept_boxes(self, split: str) -> Tensor:
        birds = self._rendered(split).sources
        assert isinstance(birds, DrawnBirds)
        boxes = torch.cat([_boxes(_unpacked(bits)) for bits in birds.rendered[1].split(500)])  # (N, 5, 4)
        one_hot = torch.cat([_one_hot(*one) for one in zip(birds.scenes.glyphs.T, CARDINALITIES, strict=True)], 1)
        each = boxes.repeat_interleave(torch.tensor(CARDINALITIES), 1)
        return each.masked_fill((one_hot != 1)[..., None], torch.nan)

    def subsets(self, split: str, rows: Sequence[int] | Tensor) -> Iterator[Tensor]:
        """For each row (32, 3, side, side): the bird with each set of parts; set i has part p if bit p of i is set.

        Raises:
            ValueError: unknown split, no rows, or rows out of range.
        """
        scenes, domain = self._scenes(split, rows), self.make_domain()
        absent = torch.arange(SETS)[:, None] >> torch.arange(len(PARTS)) & 1 == 0
        for i in range(len(scenes)):
            whole = scenes[[i] * SETS]
            chosen = Scenes(whole.glyphs.masked_fill(absent, -1), whole.place, whole.objects, whole.ground)
            yield domain.normalise(render(chosen, self.side)[0])

    def masks(self, split: str, rows: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """(n, 5, side, side) and (n, background, side, side) bool: where parts and objects are visible.

        Raises:
            ValueError: unknown split, no rows, or rows out of range.
        """
        scenes = self._scenes(split, rows)
        return _unpacked(render(scenes, self.side)[1]).bool(), objects_seen(scenes, self.side)

    def bird_pixels(self, split: str, rows: Sequence[int] | Tensor) -> Tensor:
        """(n, side, side) bool: where the bird is visible, its parts or its trunk.

        Raises:
            ValueError: unknown split, no rows, or rows out of range.
        """
        return render(self._scenes(split, rows), self.side)[1] > 0

    def _scenes(self, split: str, rows: Sequence[int] | Tensor) -> Scenes:
        wanted, birds = self.check_rows(split, rows), self._rendered(split).sources
        assert isinstance(birds, DrawnBirds)
        return birds.scenes[wanted]

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        targets = torch.randperm(count, generator=generator) % self.classes
        glyphs = self.class_parts[targets]
        if split == "train":
            fewer = torch.randint(len(PARTS) + 1, (count,), generator=generator)
            fewer *= torch.rand(count, generator=generator) < self.removal
            ranks = torch.rand(count, len(PARTS), generator=generator).argsort(1).argsort(1)
            glyphs = glyphs.masked_fill(ranks < fewer[:, None], -1)
        scenes = random_scenes(glyphs, self.background, generator)
        labels = torch.cat([_one_hot(*one) for one in zip(glyphs.T, CARDINALITIES, strict=True)], 1)
        if self.missing == "absent":
            labels = labels.nan_to_num(0.0)
        names = [f"{split} bird {i}" for i in range(count)]
        drawn = DrawnBirds(scenes, self.side)
        return RenderedPictures(drawn, targets, self.make_domain(), names, labels)


class DrawnBirds(Renderer):
    """Birds that are all rendered on first access, and one by one for interventions.

    Args:
        scenes: N pictures as numbers.
        side: of the pictures in pixels.
    """

    def __init__(self, scenes: Scenes, side: int) -> None:
        self.scenes, self.side = scenes, side

    @cached_property
    def rendered(self) -> tuple[Tensor, Tensor]:
        """All pictures (N, 3, side, side), and where parts are visible (N, side, side), as bits."""
        return render(self.scenes, self.side)

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.rendered[0][i]

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        return render(self.scenes[rows].without(without), self.side)[0]

    def regions(self, rows: list[int]) -> Tensor:
        return _unpacked(self.rendered[1][rows])


def _unpacked(bits: Tensor) -> Tensor:
    """(n, 5, H, W) float in {0, 1}, from bits (n, H, W)."""
    shifts = torch.arange(len(PARTS), dtype=torch.uint8).view(-1, 1, 1)
    return (bits[:, None] >> shifts & 1).float()


def _boxes(masks: Tensor) -> Tensor:
    """Left, top, width and height (..., 4) of masks (..., H, W) in {0, 1}; NaN of an empty one."""
    edges = []
    for seen in (masks.amax(-2), masks.amax(-1)):  # columns, rows
        first, beyond = seen.argmax(-1), seen.shape[-1] - seen.flip(-1).argmax(-1)
        edges.append((first, beyond - first))
    (left, width), (top, height) = edges
    boxes = torch.stack([left, top, width, height], -1).float()
    return boxes.masked_fill((masks.amax((-2, -1)) == 0)[..., None], torch.nan)


def _one_hot(glyphs: Tensor, count: int) -> Tensor:
    """(N, count) in {0, 1}; NaN where the part is missing."""
    return F.one_hot(glyphs.clamp_min(0), count).float().masked_fill((glyphs < 0)[:, None], torch.nan)
