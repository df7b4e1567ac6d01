"""Pictures of the top-activating training images of each concept, darkened or cut out by where it is active."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from zoo.core.training_examples import TrainingExamples
from zoo.domain import ImageDomain
from zoo.networks.receptive_field import ReceptiveField
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import upsample

FAINT = 0.25  # brightness where the attention is 0


class Gallery(nn.Module):
    """The n top-activating training images of each of k concepts, and their pictures.

    Buffer: `picture` (k, C, t, n t) uint8, side by side: the images, darkened where the attention is low, or what the
    cell of highest attention sees of them.

    Args:
        concepts: k.
        channels: C.
        count: n.
        thumbnail: t, side of an image in pixels.
    """

    picture: Tensor

    def __init__(self, concepts: int, channels: int, count: int, thumbnail: int) -> None:
        super().__init__()
        self.thumbnail = thumbnail
        self.examples = TrainingExamples(concepts, count, cells=False)
        blank = torch.zeros(concepts, channels, thumbnail, count * thumbnail, dtype=torch.uint8)
        self.register_buffer("picture", blank)

    def clear(self) -> None:
        """Removes the images, because the concepts changed."""
        self.examples.clear()

    def fill(
        self,
        projection_set: ProjectionSet,
        domain: ImageDomain,
        strength: Callable[[Tensor], Tensor],
        maps: Callable[[Tensor], Tensor],
        field: ReceptiveField | None = None,
    ) -> None:
        """Finds the images in one pass over the training set, then draws them.

        Args:
            projection_set: the training set.
            domain: converts inputs back to pixels.
            strength: maps images (B, C, H, W) to the activation of each concept (B, k).
            maps: maps images to the attention of each concept (B, k, h, w), at least 0.
            field: of the cells; cut it out where it is smaller than the images. By default, images are darkened.
        """
        cut = field is not None and field.size < min(domain.size)
        for k, row in enumerate(self.examples.find(projection_set, strength).index.tolist()):
            x = torch.stack([projection_set.input(i) for i in row])
            heat, pictures = maps(x)[:, k], domain.picture(x)
            shown = seen(pictures, heat, field) if cut and field is not None else darkened(pictures, heat)
            small = F.resize(shown, [self.thumbnail, self.thumbnail], antialias=True)
            if cut:
                small[..., -1] = 255  # tells neighbours apart
            self.picture[k, :, :, : len(row) * self.thumbnail] = torch.cat(list(small), 2)


def darkened(pictures: Tensor, heat: Tensor) -> Tensor:
    """Pictures (n, C, H, W) uint8, darkened where maps (n, h, w), at least 0, are low."""
    heat = upsample(heat, (pictures.shape[2], pictures.shape[3])).clamp_min(0)
    heat = heat / heat.flatten(1).amax(1).clamp_min(1e-12)[:, None, None]
    return (pictures * (FAINT + (1 - FAINT) * heat[:, None])).round().to(torch.uint8)


def seen(pictures: Tensor, heat: Tensor, field: ReceptiveField) -> Tensor:
    """What the cells of highest value in maps (n, h, w) see of pictures (n, C, H, W), or the nearest square within."""
    cells = heat.flatten(1).argmax(1).tolist()
    found = []
    for picture, cell in zip(pictures, cells, strict=True):
        places = zip(divmod(cell, heat.shape[2]), picture.shape[1:], strict=True)
        top, left = (min(max(field.start + field.jump * i, 0), side - field.size) for i, side in places)
        found.append(F.crop(picture, top, left, field.size, field.size))
    return torch.stack(found)
