"""Drawn birds of five parts: a world of which it is known what each class is made of, and where each part is."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.bird_drawing import CARDINALITIES, GLYPHS, PARTS, Scene, paint, visible, visible_objects
from zoo.data.images import ImageData, Pictures
from zoo.domain import ImageDomain
from zoo.hints import hint

SPLITS = ("train", "val", "test")
BACKGROUND = "background"  # all objects at once; "background 3" is one of them
CONCEPTS = {part: tuple(f"{part} {i + 1}" for i in range(len(GLYPHS[part]))) for part in PARTS}


class PartBirds(ImageData):
    """Birds whose class is the combination of their five parts, before a background of distracting objects.

    A flat version of FunnyBirds (Hesse, Schaub-Meyer, Roth: "FunnyBirds: A Synthetic Vision Dataset for a Part-Based
    Analysis of Explainable AI Methods", ICCV 2023, arXiv 2308.06248, section 3): 4 beaks, 3 eyes, 4 kinds of feet,
    9 tails and 6 wings; classes are drawn from the 2,592 combinations. Place, size, angle and direction of the bird and
    up to `background` objects behind it are random and tell nothing.

    Of some training images random parts are left out, so that a model knows birds without them; such a bird belongs to
    every class that its other parts fit, and is labelled with one of these at random (the paper averages the loss over
    them, which is the same in expectation). Birds to validate and to test on are complete, so their label is certain:
    the ceiling is 1.

    Items have "regions" (5, H, W) in {0, 1}, where each part is seen, and "concepts" (26,), which beak, eye, foot, tail
    and wing it is; NaN for a part that is left out.

    Args:
        side: of the pictures in pixels, 32 to 256.
        classes: how many, 2 to 2592.
        count, val_count, test_count: pictures of each split.
        removal: share of the training pictures of which 0 to 5 parts, as many as chance wills, are left out.
        background: objects behind the bird, at most.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the classes, the scenes and the shuffles.
        augment, views: see `zoo.data.ImageData`.
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
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        augment: str = "none",
        views: int = 1,
    ) -> None:
        super().__init__(batch_size, workers, seed, augment=augment, views=views)
        most = int(np.prod(CARDINALITIES))
        if not 32 <= side <= 256 or not 2 <= classes <= most:
            raise ValueError(f"expected a side of 32 to 256 and 2 to {most} classes; got {side} and {classes}.")
        if min(count, val_count, test_count) < 1 or not 0 <= removal <= 1 or not 0 <= background <= 100:
            raise ValueError(
                "expected counts from 1, 0 <= removal <= 1 and 0 <= background <= 100; got "
                f"{count}, {val_count}, {test_count}, {removal} and {background}."
            )
        self.side, self.classes, self.removal, self.background = side, classes, removal, background
        self.counts = dict(zip(SPLITS, (count, val_count, test_count), strict=True))

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
        chosen = torch.randperm(int(np.prod(CARDINALITIES)), generator=draw)[: self.classes]
        return torch.from_numpy(np.stack(np.unravel_index(chosen.numpy(), CARDINALITIES), 1)).long()

    def compatible(self, glyphs: Tensor) -> Tensor:
        """(N, C) bool: which classes birds (N, 5) may be of, where -1 is a part that is left out."""
        return ((glyphs[:, None] == self.class_parts) | (glyphs[:, None] < 0)).all(2)

    def minimal_sufficient(self, c: int) -> list[tuple[int, ...]]:
        """The sets of parts that tell class c from all others, without those that hold another such set."""
        found: list[tuple[int, ...]] = []
        for size in range(len(PARTS) + 1):
            for kept in combinations(range(len(PARTS)), size):
                bird = torch.full((1, len(PARTS)), -1)
                bird[0, list(kept)] = self.class_parts[c, list(kept)]
                if int(self.compatible(bird).sum()) == 1 and not any(set(small) <= set(kept) for small in found):
                    found.append(kept)
        return found

    def pictures(self, split: str, augment: str) -> "Birds":
        birds = self._birds[split]
        if augment == "none":
            return birds
        return Birds(birds.sources, birds.targets, birds.domain, birds.names, birds.bits, birds.concepts, augment)

    @cached_property
    def _birds(self) -> "_Lazy":
        return _Lazy(self)

    def interventions(self, split: str, rows: Sequence[int], remove: Sequence[str]) -> Tensor:
        """(n, 3, side, side): the same scenes drawn again without some parts, or objects of the background.

        Args:
            split: "train", "val" or "test".
            rows: numbers of the birds.
            remove: names of parts, "background" for all objects, "background 3" for the third.

        Raises:
            ValueError: there is no such part or object.
        """
        known = [*PARTS, BACKGROUND, *(f"{BACKGROUND} {i + 1}" for i in range(self.background))]
        for name in remove:
            if name not in known:
                raise ValueError(f"birds have no '{name}' to remove; {hint(name, known)}")
        scenes = self._birds.scenes[split]
        return self._painted([_without(scenes[row], remove) for row in rows])

    def subsets(self, split: str, rows: Sequence[int]) -> Iterator[Tensor]:
        """For each row (32, 3, side, side): the bird with every set of parts; set i has part p if bit p of i is set."""
        for row in rows:
            scene = self._birds.scenes[split][row]
            absent = [[part for p, part in enumerate(PARTS) if not i >> p & 1] for i in range(2 ** len(PARTS))]
            yield self._painted([_without(scene, names) for names in absent])

    def masks(self, split: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(n, 5, side, side) and (n, background, side, side) bool: where parts and objects are seen."""
        scenes = [self._birds.scenes[split][row] for row in rows]
        objects = [torch.from_numpy(visible_objects(scene, self.side)) for scene in scenes] if self.background else []
        none = torch.zeros(len(rows), 0, self.side, self.side, dtype=torch.bool)
        bits = torch.from_numpy(np.stack([visible(scene, self.side) for scene in scenes]))
        return _unpacked(bits).bool(), torch.stack(objects) if objects else none

    def _painted(self, scenes: Sequence[Scene]) -> Tensor:
        pictures = np.stack([paint(scene, self.side) for scene in scenes])
        return self.make_domain().normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))


class Birds(Pictures):
    """Pictures whose items also hold "regions" (5, H, W), where each part is seen."""

    def __init__(
        self,
        sources: Any,
        targets: Tensor,
        domain: ImageDomain,
        names: Sequence[str],
        bits: Tensor,
        concepts: Tensor | None,
        augment: str = "none",
    ) -> None:
        super().__init__(sources, targets, domain, names, augment=augment, concepts=concepts)
        self.bits = bits

    def _item(self, i: int, x: Tensor) -> dict[str, Any]:
        regions = {} if self.augment.changes else {"regions": _unpacked(self.bits[i])}  # they would no longer fit
        return {**super()._item(i, x), **regions}


class _Lazy(dict[str, Birds]):
    """The birds of each split, painted when first asked for."""

    def __init__(self, data: PartBirds) -> None:
        super().__init__()
        self.data = data
        self.scenes: dict[str, list[Scene]] = {}
        self.labels: dict[str, tuple[Tensor, Tensor]] = {}
        for number, split in enumerate(SPLITS):
            draw = np.random.default_rng((data.seed, number))
            self.labels[split], self.scenes[split] = _drawn(data, draw, data.counts[split], split == "train")

    def __missing__(self, split: str) -> Birds:
        side, scenes, (targets, glyphs) = self.data.side, self.scenes[split], self.labels[split]
        pictures = torch.from_numpy(np.stack([paint(scene, side) for scene in scenes])).permute(0, 3, 1, 2)
        bits = torch.from_numpy(np.stack([visible(scene, side) for scene in scenes]))
        names = [f"{split} bird {i}" for i in range(len(scenes))]
        concepts = torch.cat([_one_hot(glyphs[:, p], count) for p, count in enumerate(CARDINALITIES)], 1)
        self[split] = Birds(pictures.contiguous(), targets, self.data.make_domain(), names, bits, concepts)
        return self[split]


def _drawn(
    data: PartBirds, draw: np.random.Generator, count: int, partial: bool
) -> tuple[tuple[Tensor, Tensor], list[Scene]]:
    """Targets (N,), parts (N, 5) and scenes."""
    targets = torch.from_numpy(draw.permutation(np.arange(count) % data.classes))
    glyphs = data.class_parts[targets].clone()
    if partial:
        some = draw.random(count) < data.removal
        fewer = draw.integers(0, len(PARTS) + 1, count) * some
        ranks = draw.random((count, len(PARTS))).argsort(1).argsort(1)
        glyphs[torch.from_numpy(ranks < fewer[:, None])] = -1
        fits = data.compatible(glyphs).double().numpy()
        chosen = (draw.random(count)[:, None] < fits.cumsum(1) / fits.sum(1, keepdims=True)).argmax(1)
        targets = torch.where(torch.from_numpy(some), torch.from_numpy(chosen), targets)
    facing = draw.choice([-1.0, 1.0], count)
    place = np.stack([*draw.uniform(0.4, 0.6, (2, count)), draw.uniform(0.15, 0.21, count)], 1)
    angle = draw.uniform(-0.45, 0.45, count)
    number = draw.integers(0, data.background + 1, count)
    shape, colour = draw.integers(0, 5, (count, data.background)), draw.integers(0, 4, (count, data.background))
    shape = np.where(np.arange(data.background) < number[:, None], shape, -1)
    where, radius = draw.random((2, count, data.background)), draw.uniform(0.04, 0.11, (count, data.background))
    objects = np.stack([shape, colour, *where, radius, draw.uniform(0, np.pi, shape.shape)], 2)
    ground = draw.integers(205, 236, (count, 3))
    scenes = [
        Scene(glyphs[i].tolist(), (*place[i], angle[i], facing[i]), objects[i], tuple(ground[i].tolist()))
        for i in range(count)
    ]
    return (targets, glyphs), scenes


def _without(scene: Scene, remove: Sequence[str]) -> Scene:
    glyphs = [-1 if part in remove else glyph for part, glyph in zip(PARTS, scene.glyphs, strict=True)]
    objects = scene.objects.copy()
    for i in range(len(objects)):
        if BACKGROUND in remove or f"{BACKGROUND} {i + 1}" in remove:
            objects[i, 0] = -1
    return Scene(glyphs, scene.place, objects, scene.ground)


def _unpacked(bits: Tensor) -> Tensor:
    """(..., 5, H, W) float in {0, 1} of bits (..., H, W)."""
    shifts = torch.arange(len(PARTS), dtype=torch.uint8).view(-1, 1, 1)
    return (bits[..., None, :, :] >> shifts & 1).float()


def _one_hot(glyph: Tensor, count: int) -> Tensor:
    """(N, count); NaN where there is none."""
    labels = torch.nn.functional.one_hot(glyph.clamp_min(0), count).float()
    return labels.masked_fill((glyph < 0)[:, None], torch.nan)
