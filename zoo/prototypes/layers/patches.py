"""The training patches in which each prototype fires most: what pictures a prototype that is a channel, not a patch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo.domain import ImageDomain
from zoo.prototypes.layers.projection import NOWHERE, Nearest
from zoo.prototypes.layers.provenance import Provenance
from zoo.training.projection_set import ProjectionSet


@dataclass
class Strongest:
    """The n patches in which each of K prototypes fires most, at most one of each image, strongest first.

    Attributes:
        value: (K, n).
        index: (K, n) number of the training image.
        cell: (K, n) position on the feature map, row by row.
    """

    value: Tensor
    index: Tensor
    cell: Tensor

    def best(self, count: int) -> "Strongest":
        """The `count` strongest; ties go to the lower image number."""
        order = self.index.argsort(1)
        order = order.gather(1, self.value.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
        return Strongest(*(t.gather(1, order[:, :count]) for t in (self.value, self.index, self.cell)))

    def with_(self, other: "Strongest") -> "Strongest":
        """Both sets of patches together."""
        names = ("value", "index", "cell")
        return Strongest(*(torch.cat([getattr(self, name), getattr(other, name)], 1) for name in names))


def strongest_patches(projection_set: ProjectionSet, maps: Callable[[Tensor], Tensor], count: int) -> Strongest:
    """The `count` training patches in which each prototype fires most, over all ranks, in one streaming pass.

    Ties go to the lowest image number, then to the lowest cell. Memory is that of one batch.

    Args:
        projection_set: the training set, this rank's share.
        maps: from images (B, ...) to how strongly each prototype fires in each cell, (B, K, h, w).
        count: n; fewer come back if there are fewer images.

    Raises:
        ValueError: the training set is empty.
    """
    best: Strongest | None = None
    for batch in projection_set:
        value, cell = maps(batch["input"]).float().flatten(2).max(2)  # (B, K); ties: the first cell
        fresh = Strongest(value.T, batch["index"].expand(value.shape[1], -1), cell.T)
        best = (fresh if best is None else best.with_(fresh)).best(count)
    if best is None:
        raise ValueError("the training set is empty, so no prototype can be pictured; check the data.")
    if projection_set.world > 1 and dist.is_initialized():
        best = _of_ranks(best, count, projection_set.world)
    return best


def _of_ranks(best: Strongest, count: int, world: int) -> Strongest:
    lacks = count - best.value.shape[1]  # a rank with few images: what fills its share comes last
    fill = {"value": -torch.inf, "index": NOWHERE, "cell": -1}
    parts: dict[str, list[Tensor]] = {}
    for name, blank in fill.items():
        have: Tensor = getattr(best, name)
        mine = torch.cat([have, have.new_full((have.shape[0], lacks), blank)], 1).contiguous()
        parts[name] = [torch.empty_like(mine) for _ in range(world)]
        dist.all_gather(parts[name], mine)
    merged = Strongest(*(torch.cat(parts[name], 1) for name in fill)).best(count)
    there = int(merged.value.isfinite().all(0).sum())
    return Strongest(merged.value[:, :there], merged.index[:, :there], merged.cell[:, :there])


class PatchGallery(nn.Module):
    """The strongest patches of K prototypes, the first of them with its picture, in buffers.

    Buffers: `value` (K, n), `index` (K, n), -1 where there is none (yet), and `cell` (K, n), see `Strongest`; the first
    patch's box and picture are in `first`.

    Args:
        prototypes: K.
        channels: of the images.
        count: n.
        thumbnail: side of a picture in pixels.
    """

    def __init__(self, prototypes: int, channels: int, count: int, thumbnail: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("value", torch.zeros(prototypes, count))
        self.register_buffer("index", torch.full((prototypes, count), -1))
        self.register_buffer("cell", torch.full((prototypes, count), -1))
        self.first = Provenance(prototypes, channels, thumbnail)

    def clear(self) -> None:
        """Forgets the patches, because the prototypes change."""
        self.index.fill_(-1)
        self.first.index.fill_(-1)

    def fill(
        self, projection_set: ProjectionSet, domain: ImageDomain, maps: Callable[[Tensor], Tensor], relevant: Tensor
    ) -> None:
        """Finds the strongest patches in one pass, then draws the first of each prototype that is `relevant` (K,)."""
        self.clear()
        found = strongest_patches(projection_set, maps, self.count)
        there = found.value.shape[1]
        self.value[:, :there], self.index[:, :there], self.cell[:, :there] = found.value, found.index, found.cell
        if projection_set.rank:  # rank 0 draws; its state goes to all
            return
        nearest = Nearest(
            torch.zeros_like(found.value[:, 0]),
            found.index[:, 0].where(relevant, -1),
            found.cell[:, 0],
            found.value[:, :0],
        )
        one = lambda x, k: maps(x)[torch.arange(x.shape[0], device=x.device), k].float()  # noqa: E731
        self.first.record(nearest, projection_set, domain, one)

    @property
    def version(self) -> tuple[int, ...]:
        """Another one after every change."""
        return self.index._version, self.first.index._version, self.first.name._version

    def sources(self) -> list[dict[str, Any]]:
        """For each prototype its strongest patches as plain data; empty where none is pictured."""
        value, index, cell = self.value.tolist(), self.index.tolist(), self.cell.tolist()
        sources = []
        for k, first in enumerate(self.first.sources()):
            there = [n for n, i in enumerate(index[k]) if i >= 0]
            patches = [{"index": index[k][n], "cell": cell[k][n], "activation": value[k][n]} for n in there]
            known = {name: first[name] for name in ("image", "index", "cell", "box", "region") if first}
            sources.append({**known, "patches": patches} if first else {})
        return sources
