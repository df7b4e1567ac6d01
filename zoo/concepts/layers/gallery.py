"""Galleries: the training images in which a concept fires most, with where it looks, in buffers of the model."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from zoo.domain import ImageDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import upsample

FAINT = 0.25  # brightness of what a concept does not look at


class Gallery(nn.Module):
    """The n strongest training images of each of k concepts.

    Buffers: `index` (k, n) numbers of the images, -1 where there is none (yet) · `strength` (k, n) · `picture`
    (k, C, t, n t) uint8, the images side by side, dark where the concept does not look.

    Args:
        concepts: k.
        channels: C.
        count: n.
        thumbnail: t, side of a picture in pixels.
    """

    index: Tensor
    strength: Tensor
    picture: Tensor

    def __init__(self, concepts: int, channels: int, count: int, thumbnail: int) -> None:
        super().__init__()
        self.count, self.thumbnail = count, thumbnail
        self.register_buffer("index", torch.full((concepts, count), -1))
        self.register_buffer("strength", torch.zeros(concepts, count))
        self.register_buffer(
            "picture", torch.zeros(concepts, channels, thumbnail, count * thumbnail, dtype=torch.uint8)
        )

    def clear(self) -> None:
        """Forgets the images, because the concepts change."""
        self.index.fill_(-1)

    def fill(
        self,
        projection_set: ProjectionSet,
        domain: ImageDomain,
        strength: Callable[[Tensor], Tensor],
        maps: Callable[[Tensor], Tensor],
    ) -> None:
        """Finds and draws the strongest images in one pass over the training set, then a look at the winners.

        Args:
            projection_set: the training set.
            domain: turns inputs back into pictures.
            strength: from images (B, C, H, W) to how strongly each concept fires (B, k).
            maps: from images to where each concept looks, (B, k, h, w) >= 0.
        """
        best, index = self._strongest(projection_set, strength)
        count = best.shape[1]
        self.index[:, :count], self.strength[:, :count] = index, best
        for k, row in enumerate(index.tolist()):
            x = torch.stack([projection_set.input(i) for i in row])
            heat = upsample(maps(x)[:, k], domain.size).clamp_min(0)
            heat = heat / heat.flatten(1).amax(1).clamp_min(1e-12)[:, None, None]
            bright = domain.picture(x) * (FAINT + (1 - FAINT) * heat[:, None])
            small = F.resize(bright.round().to(torch.uint8), [self.thumbnail, self.thumbnail], antialias=True)
            self.picture[k, :, :, : count * self.thumbnail] = torch.cat(list(small), 2)

    def _strongest(self, projection_set: ProjectionSet, strength: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Running top n of every concept, over all ranks; ties go to the lower number."""
        best, index = self.strength[:, :0], self.index[:, :0]
        for batch in projection_set:
            fresh = strength(batch["input"]).float().T  # (k, B)
            number = batch["index"].expand_as(fresh)
            best, index = _top(torch.cat([best, fresh], 1), torch.cat([index, number], 1), self.count)
        if projection_set.world > 1:
            parts = [[torch.empty_like(t) for _ in range(projection_set.world)] for t in (best, index)]
            for mine, all_ in zip((best, index), parts, strict=True):
                dist.all_gather(all_, mine.contiguous())
            best, index = _top(torch.cat(parts[0], 1), torch.cat(parts[1], 1), self.count)
        return best, index


def _top(value: Tensor, index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    by_index = index.argsort(1)
    value, index = value.gather(1, by_index), index.gather(1, by_index)
    order = value.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return value.gather(1, order), index.gather(1, order)
