"""Random regions that training replaces.

None has the shape of a region by which explanations are measured: rectangles, spans of tokens, parts of objects and
supports of units are left to `zoo.metrics.faithfulness`. Tables have no other regions than sets of features.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain

TOKENS = ("text", "code")
CELLS = (4, 17)  # blocks and blobs on a side: from the first to below the second
LINES = (3, 13)  # time spans


def random_regions(x: Tensor, domain: Domain, share: tuple[float, float]) -> Tensor:
    """One random region for each input.

    Images: the blocks of a shifted grid, or blobs with smooth borders; series: time spans of all variables; texts:
    single tokens; tables: features.

    Args:
        x: (B, ...) inputs.
        domain: of the inputs.
        share: smallest and largest share of the elements.

    Returns:
        (B, *S) bool with S = (H, W) for images, else the shape of the input; at least one element is True.
    """
    keys = _keys(x, domain)
    flat = keys.flatten(1)
    present = flat.isfinite()
    wanted = share[0] + (share[1] - share[0]) * torch.rand(len(x), device=x.device)
    count = (wanted * present.sum(1)).round().long().clamp_min(1)
    least = flat.sort(1, descending=True).values.gather(1, count[:, None] - 1)
    return ((flat >= least) & present).view(keys.shape)


def _keys(x: Tensor, domain: Domain) -> Tensor:
    """(B, *S) random numbers, whose largest form the region; elements that belong together have equal ones."""
    if domain.modality in TOKENS:
        return torch.rand(x.shape, device=x.device).masked_fill(x == 0, -torch.inf)
    if domain.modality == "image":
        rows, columns = (int(torch.randint(*CELLS, ())) for _ in range(2))
        smooth = bool(torch.rand(()) < 0.5)
        return _stretched(torch.rand(len(x), 1, rows, columns, device=x.device), tuple(x.shape[-2:]), smooth)[:, 0]
    if domain.modality == "series":
        coarse = torch.rand(len(x), 1, int(torch.randint(*LINES, ())), 1, device=x.device)
        return _stretched(coarse, (x.shape[1], 1), False)[:, 0].expand(x.shape)
    return torch.rand(x.shape, device=x.device)


def _stretched(coarse: Tensor, size: tuple[int, ...], smooth: bool) -> Tensor:
    """Random numbers (B, 1, h, w) on a grid of `size`, shifted by a random number of elements along each axis."""
    if smooth:
        return F.interpolate(coarse, size, mode="bicubic")
    shift = [int(torch.randint(max(n, 1), ())) for n in size]
    return F.interpolate(coarse, size, mode="nearest").roll(shift, (2, 3))
