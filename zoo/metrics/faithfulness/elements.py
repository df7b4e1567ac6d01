"""Elements of an input (pixels, values of a series, features, tokens, nodes and edges), and masks over them.

A mask (B, N) covers the N flattened elements; True marks the elements that are removed or selected.
"""

import math

import torch
from torch import Tensor

from zoo.domain import Domain
from zoo.metrics.faithfulness.streams import uniform

TIMED = ("series", "audio")  # modalities of inputs (time, variables or bands)
TOKENS = ("text", "code")  # modalities whose inputs are token ids, 0 for padding


def element_shape(domain: Domain) -> tuple[int, ...]:
    """(H, W) for images, whose channels form one element; nodes and edges of graphs; else the input shape."""
    if domain.modality == "graph":
        return domain.shape[:1]
    return domain.shape[-2:] if domain.modality == "image" else domain.shape


def present(x: Tensor, domain: Domain) -> Tensor:
    """(B, N) bool: all elements except the padding of token sequences and of graphs."""
    if domain.modality == "graph":
        return x[..., 0] > 0
    if domain.modality in TOKENS:
        return x != 0
    return torch.ones(len(x), math.prod(element_shape(domain)), dtype=torch.bool, device=x.device)


def over_input(mask: Tensor, domain: Domain) -> Tensor:
    """A mask (..., N) reshaped to broadcast with inputs (..., *shape)."""
    mask = mask.unflatten(-1, element_shape(domain))
    if domain.modality == "graph":
        return mask.unsqueeze(-1)
    return mask.unsqueeze(-3) if domain.modality == "image" else mask


def cells_of(grid: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """(N,) int64: the cell of a feature grid that contains each element, for grids coarser than the input.

    A grid with fewer axes than the input, such as time only, covers all values of the missing axes.

    Raises:
        ValueError: a grid with more axes than the input.
    """
    if len(grid) > len(shape):
        raise ValueError(f"a support grid {grid} has more axes than the elements of the input {shape}.")
    cells = torch.zeros(shape, dtype=torch.long)
    for axis, size in enumerate(shape):
        if axis < len(grid):
            place = torch.arange(size) * grid[axis] // size
            cells = cells * grid[axis] + place.view([-1 if a == axis else 1 for a in range(len(shape))])
    return cells.flatten()


def random_masks(x: Tensor, ids: Tensor, domain: Domain, shares: tuple[float, ...], count: int, seed: int) -> Tensor:
    """(B, n, N) bool: n random masks per sample, independent of the model.

    Rectangles for images, time spans on some variables for series, spans of tokens, sets of features for tables,
    and of nodes and edges for graphs.

    Args:
        x: (B, ...) inputs.
        ids: (B,) sample ids.
        domain: of the inputs.
        shares: shares of the elements that masks cover in turn, in (0, 1).
        count: n.
        seed: of the masks.
    """
    share = torch.tensor(shares, dtype=torch.float64, device=x.device).repeat(-(-count // len(shares)))[:count]
    draw = uniform(ids, 3 * count, seed, "masks").view(len(x), 3, count)
    existing = present(x, domain)
    if domain.modality == "image":
        return _rectangles(share, draw, *element_shape(domain)) & existing[:, None]
    if domain.modality in TOKENS:
        length = existing.sum(1, keepdim=True)
        wide = (share * length).round().clamp_min(1)
        return _spans(wide, draw[:, 0], length, x.shape[1]) & existing[:, None]
    if domain.modality in TIMED:
        steps, variables = element_shape(domain)
        some = 1 + (draw[:, 1] * variables).floor()  # variables that lose a span
        wide = (share * steps * variables / some).round().clamp(1, steps)
        span = _spans(wide, draw[:, 0], torch.tensor(steps, device=x.device), steps)
        keys = uniform(ids, count * variables, seed, "variables").view(len(x), count, variables)
        chosen = keys.argsort(2).argsort(2) < some[..., None]
        return (span[..., None] & chosen[:, :, None]).flatten(2)
    features = existing.shape[1]
    keys = uniform(ids, count * features, seed, "features").view(len(x), count, features)
    keys = keys.masked_fill(~existing[:, None], math.inf)
    return keys.argsort(2).argsort(2) < (share * existing.sum(1)[:, None]).round().clamp_min(1)[..., None]


def _rectangles(share: Tensor, draw: Tensor, height: int, width: int) -> Tensor:
    """(B, n, H W): rectangles with aspect ratios from 1 : 2 to 2 : 1, anywhere in the image."""
    tall = ((share * height * width).sqrt() * 2 ** (draw[:, 2] - 0.5)).round().clamp(1, height)
    wide = (share * height * width / tall).round().clamp(1, width)
    rows = _spans(tall, draw[:, 0], torch.tensor(height, device=draw.device), height)
    columns = _spans(wide, draw[:, 1], torch.tensor(width, device=draw.device), width)
    return (rows[..., None] & columns[..., None, :]).flatten(2)


def _spans(wide: Tensor, draw: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, n, size): runs of `wide` elements within the first `length` ones."""
    start = (draw * (length - wide + 1).clamp_min(1)).floor()
    place = torch.arange(size, device=draw.device)
    return (place >= start[..., None]) & (place < (start + wide)[..., None])
