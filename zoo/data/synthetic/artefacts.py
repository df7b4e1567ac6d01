"""Forced artefacts: pictures of any data set with a planted artefact, so that the evidence is known.

Zhou et al.: "Do Feature Attribution Methods Correctly Attribute Features?", AAAI 2022, arXiv 2104.14403.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.base.images import ImageData
from zoo.data.base.items import Items
from zoo.data.registry import find
from zoo.data.synthetic.images import RenderedBenchmark, RenderedPictures, Renderer
from zoo.domain import ImageDomain
from zoo.utils.checks import check_choice

KINDS = ("watermark", "brightness")
BARS = (85, 255)  # grey levels of a watermark's bars for the bits 0 and 1


class ForcedArtefact(RenderedBenchmark):
    """Pictures of another data set with new labels, and an artefact in a known region that shows the new label.

    A label is kept with probability r, or replaced by one of the other labels, all equally likely. The artefact lies in
    the lower right corner, over a quarter of the height and about a quarter of the width:

        watermark    a bar code of the label's number, grey for 0 and white for 1, that hides the picture below
        brightness   the pixels are compressed into one of C bands of grey levels, that of the label; the first is the
                     darkest

    Both are unambiguous, so that the ceiling is 1. Without the artefact it is `content_ceiling`: max(r, (1 - r) /
    (C - 1)) for C classes if the pictures determine their old label. A model above that must use the region. At
    r = 1 / C the pictures carry no information. The factor is "artefact"; "content", the picture, can be removed as
    well, to black. Training pictures are not augmented.

    Args:
        data: an image data module to take pictures from, or the name of one in `zoo.data`.
        arguments: keyword arguments of the data module, if `data` is a name.
        kind: "watermark" or "brightness", see above.
        keep: r, in [0, 1].
        batch_size, workers, seed, val_fraction, sampling, class_weights: see `DataModule`; the splits are those of
            `data`, which has its own seed.

    Raises:
        ValueError: unknown kind or data module, data that is not image classification, or too many classes for the
            size of the pictures.
    """

    factors = ("artefact",)
    also_removable = ("content",)
    ceiling = 1.0

    def __init__(
        self,
        data: str | ImageData = "StrokeDigits",
        arguments: dict[str, Any] | None = None,
        kind: str = "watermark",
        keep: float = 0.5,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
        val_fraction: float = 0.1,
        sampling: Literal["uniform", "balanced"] = "uniform",
        class_weights: Literal["balanced"] | list[float] | None = None,
    ) -> None:
        super().__init__(batch_size, workers, seed, val_fraction, sampling=sampling, class_weights=class_weights)
        check_choice(KINDS, kind=kind)
        if not 0 <= keep <= 1:
            raise ValueError(f"keep must be in [0, 1]; got {keep}.")
        made = find(data)(**(arguments or {})) if isinstance(data, str) else data
        if not isinstance(made, ImageData):
            raise ValueError(f"ForcedArtefact needs a data module of images; got {data}.")
        self.data, self.kind, self.keep = made, kind, keep

    def prepare_data(self) -> None:
        self.data.prepare_data()

    @property
    def content_ceiling(self) -> float:
        """The highest expected accuracy without the artefact, if the pictures determine their old label."""
        return max(self.keep, (1 - self.keep) / (len(self.data.domain["classes"]) - 1))

    def make_domain(self) -> ImageDomain:
        domain = self.data.make_domain()
        if not isinstance(domain, ImageDomain) or domain.task != "classification" or len(domain.classes) < 2:
            raise ValueError(
                f"ForcedArtefact needs two or more classes; {type(self.data).__name__} is a {domain.task} with "
                f"{len(domain.classes)} outputs. Use classification data."
            )
        # Concepts describe the pictures and are independent of the new labels.
        return replace(domain, concepts=(), concept_groups={}, exclusive=())

    @cached_property
    def _sources(self) -> dict[str, Items]:
        return {
            "train": self.data.projection_dataset(),
            "val": self.data.val_dataset(),
            "test": self.data.test_dataset(),
        }

    @cached_property
    def counts(self) -> dict[str, int]:
        return {split: len(dataset) for split, dataset in self._sources.items()}

    def draw(self, split: str, count: int, generator: torch.Generator) -> RenderedPictures:
        domain, source = self.make_domain(), self._sources[split]
        kept = torch.rand(count, generator=generator) < self.keep
        shift = torch.randint(1, len(domain.classes), (count,), generator=generator)
        new = torch.where(kept, source.targets, (source.targets + shift) % len(domain.classes))
        names = [f"{source.name(i)}, shown as {domain.classes[label]}" for i, label in enumerate(new.tolist())]
        return RenderedPictures(Marked(source, new, domain, self.kind), new, domain, names)


class Marked(Renderer):
    """Pictures of a data set with an artefact that shows their new labels.

    Args:
        source: N pictures.
        labels: (N,) new labels.
        domain: of the pictures.
        kind: "watermark" or "brightness".

    Raises:
        ValueError: the artefact cannot show that many classes in pictures of this size.
    """

    def __init__(self, source: Items, labels: Tensor, domain: ImageDomain, kind: str) -> None:
        self.source, self.labels, self.domain, self.kind = source, labels, domain, kind
        height, width = domain.size
        count = len(domain.classes)
        bits = max((count - 1).bit_length(), 1)
        bar = max(width // 4 // bits, 2) if kind == "watermark" else max(width // 4, 1)
        self.width, self.height = bar * bits if kind == "watermark" else bar, max(height // 4, 1)
        if self.width > width or (kind == "brightness" and count > 128):
            raise ValueError(
                f"a {kind} cannot show {count} classes in pictures of {height} x {width} pixels; use fewer classes, "
                f"or {'the watermark' if kind == 'brightness' else 'larger pictures'}."
            )
        code = torch.arange(count)[:, None] >> torch.arange(bits).flip(0) & 1  # (C, bits), highest bit first
        self.edges = torch.arange(count + 1) * 256 // count  # of the bands
        self.bars = torch.tensor(BARS, dtype=torch.uint8)[code].repeat_interleave(bar, 1)

    def render(self, rows: list[int], without: Collection[str]) -> Tensor:
        picture = self.domain.picture(torch.stack([item["input"] for item in self.source.__getitems__(rows)]))
        if "content" in without:
            picture = torch.zeros_like(picture)
        if "artefact" not in without:
            corner = picture[..., -self.height :, -self.width :]
            labels = self.labels[rows, None, None, None]
            if self.kind == "watermark":
                corner.copy_(self.bars[labels[..., 0]])
            else:
                low, high = self.edges[labels], self.edges[labels + 1]
                corner.copy_(low + corner.int() * (high - low) // 256)
        return picture

    def regions(self, rows: list[int]) -> Tensor:
        region = torch.zeros(len(rows), 1, *self.domain.size)
        region[..., -self.height :, -self.width :] = 1
        return region
