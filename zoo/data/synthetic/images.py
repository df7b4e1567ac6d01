"""The base of synthetic benchmarks of images, which are rendered on access, with or without some factors."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.base.images import CROPPED_MASKS, ImageData, Pictures
from zoo.data.synthetic.benchmark import EvidenceItems, SyntheticBenchmark, split_counts
from zoo.domain import ImageDomain
from zoo.utils.checks import check_choice


class Renderer:
    """Renders pictures on access: index i gives (C, H, W), a list of n indices (n, C, H, W), uint8."""

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        """Pictures (n, C, H, W), uint8, without the named factors; everything else is unchanged."""
        raise NotImplementedError("a renderer defines render()")

    def regions(self, rows: list[int]) -> Tensor:
        """(n, R, H, W) in {0, 1}: the pixels of each factor."""
        raise NotImplementedError("a renderer defines regions()")

    def __getitem__(self, i: int | list[int]) -> Tensor:
        return self.render([i], ())[0] if isinstance(i, int) else self.render(i, ())


class RegionMasks:
    """Masks of pictures that are the pixels of some of their regions.

    Args:
        renderer: of the pictures.
        relevant: numbers of these regions.
    """

    def __init__(self, renderer: Renderer, relevant: Sequence[int]) -> None:
        self.renderer, self.relevant = renderer, list(relevant)

    def __getitem__(self, i: int) -> Tensor | None:
        region = self.renderer.regions([i])[:, self.relevant].amax(1)
        return region.to(torch.uint8) * 255 if bool(region.any()) else None


class RenderedPictures(Pictures, EvidenceItems):
    """Pictures rendered on access, whose items also have "regions" (R, H, W).

    Args:
        renderer: of the N pictures.
        targets, domain, names, concepts: see `Pictures`.

    Attributes:
        relevant: numbers of the regions that together are the mask "relevant" of items; without any, there is none.
    """

    sources: Renderer
    relevant: Sequence[int] = ()

    def __init__(
        self,
        renderer: Renderer,
        targets: Tensor,
        domain: ImageDomain,
        names: Sequence[str],
        concepts: Tensor | None = None,
    ) -> None:
        super().__init__(renderer, targets, domain, names, concepts=concepts)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        inputs, regions = self.domain.preprocess(self.sources[indices]), self.sources.regions(indices)
        items = [self._item(i, x) | {"regions": r} for i, x, r in zip(indices, inputs, regions, strict=True)]
        if not self.relevant:
            return items
        marks = regions[:, list(self.relevant)].amax(1)  # (n, H, W)
        marks = torch.where(marks.flatten(1).any(1)[:, None, None], marks, torch.nan)
        return [item | {"relevant": mark} for item, mark in zip(items, marks, strict=True)]

    def augmented(self, augment: str) -> Pictures:
        """The same pictures with an augmentation, and so without "regions"."""
        masks = RegionMasks(self.sources, self.relevant) if self.relevant else None
        given = (self.sources, self.targets, self.domain, self.names, None, augment, self.concepts)
        return Pictures(*given, masks=masks)

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        return self.domain.preprocess(self.sources.render(rows, factors))


class RenderedBenchmark(ImageData, SyntheticBenchmark):
    """The base of synthetic benchmarks of images; a subclass defines `make_domain`, `counts` and `draw`.

    Attributes:
        marked: factors whose pixels together are the mask "relevant" of items, as a user might draw it.
    """

    marked: Sequence[str] = ()

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        raise NotImplementedError("a synthetic benchmark of images defines draw()")

    def pictures(self, split: str, augment: str) -> Pictures:
        return self._rendered(split)

    def _rendered(self, split: str) -> RenderedPictures:
        found = self._splits[split]
        assert isinstance(found, RenderedPictures)
        found.relevant = [self.factors.index(name) for name in self.marked]
        return found

    def mark(self, masks: Sequence[str] | None) -> None:
        """Sets `marked`.

        Raises:
            ValueError: one is not a factor.
        """
        self.marked = tuple(masks or ())
        if self.marked and self.concept_crops:
            raise ValueError(CROPPED_MASKS)
        for name in self.marked:
            check_choice(self.factors, masks=name)


class CountedBenchmark(RenderedBenchmark):
    """The base of synthetic benchmarks of images with a given number of pictures.

    Args:
        count: number of training pictures.
        test_count: number of test pictures.
        batch_size, workers, seed, sampling, class_weights: see `DataModule`.
        val_fraction: number of validation pictures as a share of `count`.
    """

    def __init__(
        self,
        count: int = 10_000,
        test_count: int = 2000,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, sampling=sampling, class_weights=class_weights)
        self.counts = split_counts(count, test_count, val_fraction)


def over(below: Tensor, ink: Tensor, alpha: Tensor) -> Tensor:
    """Paints `ink` over pictures (uint8): alpha 255 hides what is below, alpha 0 keeps it bit-equal."""
    a = alpha.int()
    return ((below * (255 - a) + ink * a + 127) // 255).to(torch.uint8)


def grey_domain(classes: Sequence[str], size: tuple[int, int], mean: float, std: float) -> ImageDomain:
    """The domain of grey pictures of one size."""
    return ImageDomain(classes=tuple(classes), size=size, channels=1, mean=(mean,), std=(std,))
