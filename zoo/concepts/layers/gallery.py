"""Pictures of the top-activating training images of each concept, darkened where its attention is low."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from zoo.core.training_examples import TrainingExamples
from zoo.domain import ImageDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import upsample

FAINT = 0.25  # brightness where the attention is 0


class Gallery(nn.Module):
    """The n top-activating training images of each of k concepts, and their pictures.

    Buffer: `picture` (k, C, t, n t) uint8, the images side by side, darkened where the attention is low.

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
    ) -> None:
        """Finds the images in one pass over the training set, then draws them.

        Args:
            projection_set: the training set.
            domain: converts inputs back to pixels.
            strength: maps images (B, C, H, W) to the activation of each concept (B, k).
            maps: maps images to the attention of each concept (B, k, h, w), at least 0.
        """
        for k, row in enumerate(self.examples.find(projection_set, strength).index.tolist()):
            x = torch.stack([projection_set.input(i) for i in row])
            heat = upsample(maps(x)[:, k], domain.size).clamp_min(0)
            heat = heat / heat.flatten(1).amax(1).clamp_min(1e-12)[:, None, None]
            bright = domain.picture(x) * (FAINT + (1 - FAINT) * heat[:, None])
            small = F.resize(bright.round().to(torch.uint8), [self.thumbnail, self.thumbnail], antialias=True)
            self.picture[k, :, :, : len(row) * self.thumbnail] = torch.cat(list(small), 2)
