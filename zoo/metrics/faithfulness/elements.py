"""Elements: what an input is made of (pixels, values of a series, features, tokens), and masks over them.

A mask (B, N) bool or float lies over the N elements, flattened; 1 is removed, or belongs.
"""

import math

import torch
from torch import Tensor

from zoo.domain import Domain
from zoo.metrics.faithfulness.streams import uniform

TOKENS = ("text", "code")  # modalities whose inputs are numbers of tokens, 0 for padding


def element_shape(domain: Domain) -> tuple[int, ...]:
    """(H, W) of images, whose channels belong together; of all others the shape of the input."""
    return domain.shape[-2:] if domain.modality == "image" else domain.shape


def present(x: Tensor, domain: Domain) -> Tensor:
    """(B, N) bool, the elements that there are: all but the padding of tokens."""
    if domain.modality in TOKENS:
        return x != 0
    return torch.ones(len(x), math.prod(element_shape(domain)), dtype=torch.bool, device=x.device)


def over_input(mask: Tensor, domain: Domain) -> Tensor:
    """A mask (..., N) in a shape that broadcasts with inputs (..., *shape)."""
    mask = mask.unflatten(-1, element_shape(domain))
    return mask.unsqueeze(-3) if domain.modality == "image" else mask


def cells_of(grid: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """(N,) int64: in which cell of a feature grid each element lies, where elements outnumber cells.

    A grid of fewer axes, such as the time of a series, spreads over the missing ones.

    Raises:
        ValueError: a grid that has more axes than the input.
    """
    if len(grid) > len(shape):
        raise ValueError(f"supports lie on a grid {grid}, which does not fit elements {shape}.")
    cells = torch.zeros(shape, dtype=torch.long)
    for axis, size in enumerate(shape):
        if axis < len(grid):
            place = torch.arange(size) * grid[axis] // size
            cells = cells * grid[axis] + place.view([-1 if a == axis else 1 for a in range(len(shape))])
    return cells.flatten()


def random_masks(x: Tensor, ids: Tensor, domain: Domain, shares: tuple[float, ...], count: int, seed: int) -> Tensor:
    """(B, n, N) bool: n masks a sample that know nothing of the model, of the given shares of the elements in turn.

    Rectangles of images, spans of time on some variables of series, spans of tokens, sets of features.

    Args:
        x: (B, ...) inputs.
        ids: (B,) of the samples.
        domain: of the inputs.
        shares: of the elements, in (0, 1).
        count: n.
        seed: of the masks.
    """
    share = torch.tensor(shares, dtype=torch.float64, device=x.device).repeat(-(-count // len(shares)))[:count]
    draw = uniform(ids, 3 * count, seed, "masks").view(len(x), 3, count)
    there = present(x, domain)
    if domain.modality == "image":
        return _rectangles(share, draw, *element_shape(domain)) & there[:, None]
    if domain.modality in TOKENS:
        length = there.sum(1, keepdim=True)
        wide = (share * length).round().clamp_min(1)
        return _spans(wide, draw[:, 0], length, x.shape[1]) & there[:, None]
    if domain.modality == "series":
        steps, variables = element_shape(domain)
        some = 1 + (draw[:, 1] * variables).floor()  # variables that lose a span
        wide = (share * steps * variables / some).round().clamp(1, steps)
        span = _spans(wide, draw[:, 0], torch.tensor(steps, device=x.device), steps)
        keys = uniform(ids, count * variables, seed, "variables").view(len(x), count, variables)
        chosen = keys.argsort(2).argsort(2) < some[..., None]
        return (span[..., None] & chosen[:, :, None]).flatten(2)
    features = there.shape[1]
    keys = uniform(ids, count * features, seed, "features").view(len(x), count, features)
    return keys.argsort(2).argsort(2) < (share * features).round().clamp_min(1)[:, None]


def _rectangles(share: Tensor, draw: Tensor, height: int, width: int) -> Tensor:
    """(B, n, H W): of sides in a ratio from 1 : 2 to 2 : 1, anywhere within the image."""
    tall = ((share * height * width).sqrt() * 2 ** (draw[:, 2] - 0.5)).round().clamp(1, height)
    wide = (share * height * width / tall).round().clamp(1, width)
    rows = _spans(tall, draw[:, 0], torch.tensor(height, device=draw.device), height)
    columns = _spans(wide, draw[:, 1], torch.tensor(width, device=draw.device), width)
    return (rows[..., None] & columns[..., None, :]).flatten(2)


def _spans(wide: Tensor, draw: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, n, size): runs of `wide` elements that start anywhere so that they end before `length`."""
    start = (draw * (length - wide + 1).clamp_min(1)).floor()
    place = torch.arange(size, device=draw.device)
    return (place >= start[..., None]) & (place < (start + wide)[..., None])
