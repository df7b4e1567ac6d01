"""The patches of pixels that are the units of an exact map of an image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.evidence import Unit


class PixelPatches:
    """Cuts maps (B, n, H, W) into K = rows x columns patches; those at the end may be cut off by the border.

    Args:
        size: (H, W).
        side: of a patch in pixels.

    Attributes:
        grid: rows and columns of patches.
    """

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self.size, self.side = size, side
        self.grid = (-(-size[0] // side), -(-size[1] // side))

    def units(self) -> tuple[Unit, ...]:
        """One unit for each patch, row by row."""
        return tuple(
            Unit(f"patch at {row * self.side}, {column * self.side}", "pixels", source={"patch": self.side})
            for row in range(self.grid[0])
            for column in range(self.grid[1])
        )

    def places(self) -> Tensor:
        """(K, rows, columns) in {0, 1}, where each patch is."""
        return torch.eye(self.grid[0] * self.grid[1]).unflatten(1, self.grid)

    def spread(self, values: Tensor) -> Tensor:
        """Values (B, K) of the patches at their pixels (B, 1, H, W)."""
        maps = values.unflatten(1, self.grid)[:, None]
        maps = maps.repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)
        return maps[:, :, : self.size[0], : self.size[1]]

    def sums(self, each: Tensor) -> Tensor:
        """The sum (B, K) of a map (B, 1, H, W) over the pixels of each patch."""
        return F.avg_pool2d(self._padded(each), self.side).flatten(1) * self.side**2

    def cut(self, maps: Tensor) -> Tensor:
        """The pixels of each patch (B, K, n side²), channel by channel; 0 outside of the image."""
        return F.unfold(self._padded(maps), self.side, stride=self.side).mT

    def _padded(self, maps: Tensor) -> Tensor:
        """Maps with zeros at the end, to a full number of patches."""
        height, width = (rows * self.side for rows in self.grid)
        return F.pad(maps, (0, width - self.size[1], 0, height - self.size[0]))
