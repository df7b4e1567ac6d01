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
    """The sources of P prototypes.

    Buffers: `index` (P,) number of the training image, -1 before the first projection · `cell` (P,) on the feature
    map · `distance` (P,) moved by the projection, squared · `box` (P, 4) of the patch in the image, and `region`
    (P, 4) of the square around it that is pictured, both (top, left, bottom, right) in pixels · `picture`
    (P, C, t, t) uint8 · `name` (P, 96) the image's name in UTF-8, its end if it is longer.
    """

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
    ) -> None:
        """Notes the sources of the prototypes after a projection; none of those whose image number is -1.

        Args:
            nearest: what the projection found.
            projection_set: the training set that it searched.
            domain: turns inputs back into pictures.
            maps: from images (N, C, H, W) and prototype numbers (N,) to similarity maps (N, h, w), of each image to
                its one prototype.
        """
        self.index.copy_(nearest.index)
        self.cell.copy_(nearest.cell)
        self.distance.copy_(nearest.distance)
        for chunk in (self.index >= 0).nonzero().flatten().split(32):  # one chunk at a time, so that memory is bounded
            sources = self.index[chunk].tolist()
            inputs = {i: projection_set.input(i) for i in set(sources)}
            x = torch.stack([inputs[i] for i in sources])
            boxes = high_activation_box(upsample(maps(x, chunk), domain.size)).cpu()
            for j, box, image, i in zip(chunk.tolist(), boxes, domain.picture(x), sources, strict=True):
                self._note(j, box, image, projection_set.name(i))

    def record_whole(
        self, slots: Tensor, numbers: Sequence[int], x: Tensor, projection_set: ProjectionSet, domain: ImageDomain
    ) -> None:
        """Notes the sources of prototypes that are whole images.

        Args:
            slots: (N,) the prototypes.
            numbers: N numbers of training images.
            x: (N, C, H, W) these images as inputs.
            projection_set: the training set that has their names.
            domain: turns inputs back into pictures.
        """
        whole = torch.tensor([0, 0, *domain.size])
        for j, image, i in zip(slots.tolist(), domain.picture(x), numbers, strict=True):
            self.index[j], self.cell[j] = i, -1
            self._note(j, whole, image, projection_set.name(i), whole)

    def _note(self, j: int, box: Tensor, image: Tensor, name: str, region: Tensor | None = None) -> None:
        region = region_around(box, (image.shape[-2], image.shape[-1])) if region is None else region
        top, left, bottom, right = region.tolist()
        crop, side = image[:, top:bottom, left:right], [self.thumbnail, self.thumbnail]
        small = bottom - top <= self.thumbnail
        picture = F.resize(crop, side, InterpolationMode.NEAREST_EXACT if small else InterpolationMode.BILINEAR)
        text = name.encode()[-NAME_BYTES:]
        self.box[j], self.region[j], self.picture[j] = box, region, picture
        self.name[j] = torch.tensor(list(text.ljust(NAME_BYTES, b"\0")), dtype=torch.uint8)

    def sources(self) -> list[dict[str, Any]]:
        """For each prototype what is known of its source, as plain data; empty before the first projection."""
        columns = {key: getattr(self, key).tolist() for key in ("index", "cell", "distance", "box", "region")}
        names = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in self.name.tolist()]
        return [
            {"image": names[j], **{key: column[j] for key, column in columns.items()}} if i >= 0 else {}
            for j, i in enumerate(columns["index"])
        ]
