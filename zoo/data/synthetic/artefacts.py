"""Forced artefacts: pictures of any data set whose evidence is known because it was planted.

Zhou et al.: "Do Feature Attribution Methods Correctly Attribute Features?", AAAI 2022, arXiv 2104.14403.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.base.images import ImageData
from zoo.data.base.module import Part
from zoo.data.registry import find
from zoo.data.synthetic.painting import Painted, Paintings, PictureWorld, one_of
from zoo.domain import ImageDomain

KINDS = ("watermark", "brightness")
BARS = (85, 255)  # grey of a watermark's bars for the bits 0 and 1


class ForcedArtefact(PictureWorld):
    """Another data set's pictures with labels drawn anew, and an artefact that shows the new label in a known region.

    A label is kept with probability r, or else becomes one of the wrong ones, all equally likely. The artefact lies in
    the lower right corner, over a quarter of the height and about as much of the width:

        watermark    a bar code of the label's number, grey for 0 and white for 1, that hides what is below
        brightness   the pixels are pressed into one of C bands of grey levels, that of the label: darkest for the first

    Both can be read without a doubt, so that the ceiling is 1. Without them it is `content_ceiling`,
    max(r, (1 - r) / (C - 1)) of C classes if the pictures tell their old label: any model above must use the region. At
    r = 1 / C the pictures say nothing. The factor is "artefact"; "content", all that is below, can be removed as well,
    to black. Training pictures are not augmented.

    Args:
        data: an image data module to take pictures from, or the name of one in `zoo.data`.
        arguments: keyword arguments of the data module, if `data` is a name.
        kind: see above.
        keep: r, in [0, 1].
        batch_size: items a batch.
        workers: processes that load.
        seed: of the labels and the shuffles; the pictures have their own, in `arguments`.

    Raises:
        ValueError: an unknown kind or data module, data that is no classification of images, or too many classes for
            the pictures.
    """

    factors = ("artefact",)
    removable = ("artefact", "content")

    def __init__(
        self,
        data: str | ImageData = "StrokeDigits",
        arguments: dict[str, Any] | None = None,
        kind: str = "watermark",
        keep: float = 0.5,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        one_of("kind", kind, KINDS)
        if not 0 <= keep <= 1:
            raise ValueError(f"keep must be in [0, 1]; got {keep}.")
        made = find(data)(**(arguments or {})) if isinstance(data, str) else data
        if not isinstance(made, ImageData):
            raise ValueError(f"ForcedArtefact needs a data module of images; got {data}.")
        self.data, self.kind, self.keep = made, kind, keep

    def prepare_data(self) -> None:
        self.data.prepare_data()

    @property
    def ceiling(self) -> float:
        return 1.0

    @property
    def content_ceiling(self) -> float:
        """The highest accuracy that can be expected without the artefact, of pictures that tell their old label."""
        return max(self.keep, (1 - self.keep) / (len(self.data.domain["classes"]) - 1))

    def make_domain(self) -> ImageDomain:
        domain = self.data.make_domain()
        if not isinstance(domain, ImageDomain) or domain.task != "classification" or len(domain.classes) < 2:
            raise ValueError(
                f"an artefact shows one of two classes or more; {type(self.data).__name__} is a {domain.task} with "
                f"{len(domain.classes)}. Use data that has classes."
            )
        # Concepts are of the pictures, and say nothing about the new labels.
        return replace(domain, concepts=(), concept_groups={}, exclusive=())

    @cached_property
    def _sources(self) -> dict[str, Dataset]:
        return {
            "train": self.data.projection_dataset(),
            "val": self.data.val_dataset(),
            "test": self.data.test_dataset(),
        }

    @cached_property
    def counts(self) -> dict[str, int]:
        return {split: len(dataset) for split, dataset in self._sources.items()}

    def draw(self, split: str, count: int, generator: torch.Generator) -> Paintings:
        domain, source = self.make_domain(), self._sources[split]
        old = source.dataset.targets[source.indices] if isinstance(source, Part) else source.targets
        kept = torch.rand(count, generator=generator) < self.keep
        shift = torch.randint(1, len(domain.classes), (count,), generator=generator)
        new = torch.where(kept, old, (old + shift) % len(domain.classes))
        names = [f"{source.name(i)}, shown as {domain.classes[label]}" for i, label in enumerate(new.tolist())]
        return Paintings(Marked(source, new, domain, self.kind), new, domain, names)


class Marked(Painted):
    """Pictures of a data set with an artefact that shows labels (N,).

    Raises:
        ValueError: the artefact cannot show that many classes in pictures of this size.
    """

    def __init__(self, source: Dataset, labels: Tensor, domain: ImageDomain, kind: str) -> None:
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

    def paint(self, rows: list[int], without: Collection[str]) -> Tensor:
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
