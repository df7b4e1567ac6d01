"""Filters whose output pixels are weighted means of neighbours, and the combination of two of them into one."""

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_at_least

NARROWEST = 1e-3  # of a width
WIDTHS = ("vertical", "horizontal", "range")


class NeighbourFilter(nn.Module):
    """A bilateral filter with its own widths at every pixel.

        w ∝ t(dy) t(dx) exp(-dy² / 2 s_v² - dx² / 2 s_h² - d²(p, p + (dy, dx)) / 2 s_r²),   t(d) = 1 - d² / (r + 1)²

    w is the weight of the neighbour at (dy, dx) of pixel p. d² is the mean squared difference of the surroundings of
    the two pixels, of `match` by `match` pixels and all channels.
    Weights of a pixel add up to 1; pixels outside of the picture have none. t lets weights fall to 0 at the border of
    the window, so that the weights are continuous in the widths and no largest width decides on a size.

    Tomasi, Manduchi: "Bilateral Filtering for Gray and Color Images", ICCV 1998; `match` above 1: Buades, Coll, Morel:
    "A Non-Local Algorithm for Image Denoising", CVPR 2005.

    Args:
        radius: r, of the window, in pixels.
        match: side of the surroundings that are compared, odd.
        patch: side of the patches that share their widths.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, radius: int, match: int, patch: int) -> None:
        super().__init__()
        check_at_least(1, radius=radius, match=match, patch=patch)
        if match % 2 == 0:
            raise ValueError(f"match must be odd, so that a pixel is in the middle; got {match}.")
        self.radius, self.match, self.patch = radius, match, patch

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """(dy, dx) of the K neighbours, row by row; that of the pixel itself is in the middle."""
        return offsets_of(self.radius)

    def weights(self, guide: Tensor, widths: Tensor) -> Tensor:
        """(B, K, H, W) the weights of each pixel's neighbours.

        Args:
            guide: (B, C, H, W), whose pixels are compared.
            widths: (B, 3, h, w) above 0, vertical, horizontal and range, of the patches.
        """
        height, width = guide.shape[-2:]
        place = torch.tensor(self.offsets, device=guide.device, dtype=guide.dtype)[:, :, None, None]  # (K, 2, 1, 1)
        taper = torch.log1p(-(place / (self.radius + 1)).square()).sum(1)
        narrow = 0.5 / spread(widths, self.patch, height, width).clamp_min(NARROWEST).square()
        power = taper - place[:, 0].square() * narrow[:, :1] - place[:, 1].square() * narrow[:, 1:2]
        power = power - self.distances(guide) * narrow[:, 2:]
        inside = neighbours(torch.ones_like(guide[:1, :1]), self.radius)[0, 0] > 0  # (K, H, W)
        return torch.where(inside, power, -torch.inf).softmax(1)

    def distances(self, guide: Tensor) -> Tensor:
        """(B, K, H, W) d² of each pixel and its neighbours; the picture goes on with its border pixels."""
        around = self.match // 2
        wide = F.pad(guide, (around,) * 4, mode="replicate")
        far = F.pad(wide, (self.radius,) * 4, mode="replicate")
        moved = far.unfold(2, wide.shape[2], 1).unfold(3, wide.shape[3], 1).flatten(2, 3)  # (B, C, K, H', W')
        apart = (moved - wide[:, :, None]).square().mean(1)
        return F.avg_pool2d(apart, self.match, stride=1)

    def forward(self, picture: Tensor, widths: Tensor) -> Tensor:
        """The filtered picture (B, C, H, W), its own guide."""
        return (self.weights(picture, widths)[:, None] * neighbours(picture, self.radius)).sum(2)


def offsets_of(radius: int) -> list[tuple[int, int]]:
    """(dy, dx) of the neighbours within a radius, row by row."""
    reach = range(-radius, radius + 1)
    return [(dy, dx) for dy in reach for dx in reach]


def neighbours(picture: Tensor, radius: int) -> Tensor:
    """(B, C, K, H, W) the neighbours of each pixel, 0 outside of the picture."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (radius,) * 4)
    return padded.unfold(2, height, 1).unfold(3, width, 1).flatten(2, 3)


def spread(values: Tensor, patch: int, height: int, width: int) -> Tensor:
    """Values (B, N, h, w) of patches as values (B, N, H, W) of pixels."""
    return values.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, :, :height, :width]


def combined(first: Tensor, second: Tensor) -> Tensor:
    """(B, K, H, W) the weights of one filter after another as those of a single one, of radius r + s.

    A pixel takes w₂(p, u) of its neighbour u, which took w₁(u, v) of v: together Σ_u w₂(p, u) w₁(u, v).

    Args:
        first: (B, (2 r + 1)², H, W).
        second: (B, (2 s + 1)², H, W).
    """
    side, other = (round(w.shape[1] ** 0.5) for w in (first, second))
    radius, last = side // 2, other // 2
    height, width = first.shape[-2:]
    grid = first.unflatten(1, (side, side))
    moved = F.pad(grid, (last,) * 4)
    whole = 2 * (radius + last) + 1
    total = first.new_zeros(first.shape[0], whole, whole, height, width)
    for k, (dy, dx) in enumerate(offsets_of(last)):
        at = moved[..., last + dy : last + dy + height, last + dx : last + dx + width]
        top, left = last + dy, last + dx
        total[:, top : top + side, left : left + side] += second[:, k, None, None] * at
    return total.flatten(1, 2)
