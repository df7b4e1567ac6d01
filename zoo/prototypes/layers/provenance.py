"""Where prototypes come from: training image, patch and picture, in buffers that travel with the weights."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from zoo.domain import ImageDomain
from zoo.prototypes.layers.projection import Nearest
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import high_activation_box, region_around, upsample

NAME_BYTES = 96


class Provenance(nn.Module):
    """The training images, or patches of them, that P prototypes come from.

    Buffers: `index` (P,) number of the training image, -1 for none · `cell` (P,) of the feature map, counted row by
    row, -1 for a complete image · `distance` (P,) squared, by which the projection moved the prototype · `box` (P, 4)
    of the patch in the image, and `region` (P, 4) of the square around it that the picture shows, both (top, left,
    bottom, right) in pixels · `picture` (P, C, t, t) uint8 · `name` (P, 96) of the image in UTF-8, of a longer name the
    end.

    Args:
        count: P.
        channels: C, of the images.
        thumbnail: t, side of a picture in pixels.
    """

    index: Tensor
    cell: Tensor
    distance: Tensor
    box: Tensor
    region: Tensor
    picture: Tensor
    name: Tensor

    def __init__(self, count: int, channels: int, thumbnail: int) -> None:
        super().__init__()
        self.thumbnail = thumbnail
        self.register_buffer("index", torch.full((count,), -1))
        self.register_buffer("cell", torch.full((count,), -1))
        self.register_buffer("distance", torch.zeros(count))
        self.register_buffer("box", torch.zeros(count, 4, dtype=torch.int64))
        self.register_buffer("region", torch.zeros(count, 4, dtype=torch.int64))
        self.register_buffer("picture", torch.zeros(count, channels, thumbnail, thumbnail, dtype=torch.uint8))
        self.register_buffer("name", torch.zeros(count, NAME_BYTES, dtype=torch.uint8))

    def record(
        self,
        nearest: Nearest,
        projection_set: ProjectionSet,
        domain: ImageDomain,
        maps: Callable[[Tensor, Tensor], Tensor],
        boxes: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Stores the patches that a projection found; none for prototypes whose image number is -1.

        Args:
            nearest: what the projection found.
            projection_set: the training set that it searched.
            domain: turns inputs back into pictures.
            maps: from images (N, C, H, W) and prototype numbers (N,) to similarity maps (N, h, w), of each image to
                its one prototype.
            boxes: from cells (N,) to the boxes (N, 4) of pixels that they depend on, where that is known; by default
                the boxes are drawn around the top 5 % of each similarity map.
        """
        self.index.copy_(nearest.index)
        self.cell.copy_(nearest.cell)
        self.distance.copy_(nearest.distance)
        for chunk in (self.index >= 0).nonzero().flatten().split(32):  # bounds memory
            sources = self.index[chunk].tolist()
            inputs = {i: projection_set.input(i) for i in set(sources)}
            x = torch.stack([inputs[i] for i in sources])
            found = boxes(self.cell[chunk]) if boxes else high_activation_box(upsample(maps(x, chunk), domain.size))
            for j, box, image, i in zip(chunk.tolist(), found.cpu(), domain.picture(x), sources, strict=True):
                self._store(j, image, projection_set.name(i), box, region_around(box, domain.size))

    def record_images(
        self, slots: Tensor, numbers: Sequence[int], x: Tensor, projection_set: ProjectionSet, domain: ImageDomain
    ) -> None:
        """Stores the sources of prototypes that are complete images.

        Args:
            slots: (N,) the prototypes.
            numbers: N numbers of training images.
            x: (N, C, H, W) these images as inputs.
            projection_set: the training set, which knows their names.
            domain: turns inputs back into pictures.
        """
        box = torch.tensor([0, 0, *domain.size])
        for j, image, i in zip(slots.tolist(), domain.picture(x), numbers, strict=True):
            self.index[j], self.cell[j] = i, -1
            self._store(j, image, projection_set.name(i), box, box)

    def _store(self, j: int, image: Tensor, name: str, box: Tensor, region: Tensor) -> None:
        top, left, bottom, right = region.tolist()
        crop, side = image[:, top:bottom, left:right], [self.thumbnail, self.thumbnail]
        small = bottom - top <= self.thumbnail
        picture = F.resize(crop, side, InterpolationMode.NEAREST_EXACT if small else InterpolationMode.BILINEAR)
        text = name.encode()[-NAME_BYTES:]
        self.box[j], self.region[j], self.picture[j] = box, region, picture
        self.name[j] = torch.tensor(list(text.ljust(NAME_BYTES, b"\0")), dtype=torch.uint8)

    def sources(self) -> list[dict[str, Any]]:
        """The source of each prototype as plain data; empty for a prototype without one."""
        buffers = {name: getattr(self, name) for name in ("index", "cell", "distance", "box", "region")}
        columns = {name: buffer.tolist() for name, buffer in buffers.items()}
        names = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in self.name.tolist()]
        return [
            {"image": names[j], **{key: column[j] for key, column in columns.items()}} if i >= 0 else {}
            for j, i in enumerate(columns["index"])
        ]
