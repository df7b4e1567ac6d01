"""Perturbations: small input changes that should not change an explanation, with inverses for maps.

A perturbation maps inputs (B, *shape) and sample ids (B,) to inputs of the same shape. Random perturbations depend on
(seed, id) only.
"""

import math

import torch
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg

from zoo.domain import Domain, GraphDomain, ImageDomain
from zoo.metrics.faithfulness.elements import TIMED, TOKENS, element_shape
from zoo.metrics.faithfulness.streams import integers, normal_like, uniform

CLIP = 0.25  # largest noise, in the scale of the model's input
UNKNOWN = 1  # id of the unknown token


class Perturbation:
    """Base class. The unit of `severity` depends on the subclass."""

    name: str
    severity: float

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        """The perturbed inputs (B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__().")

    def undo(self, values: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        """(B, N) a map over the perturbed inputs moved back to the elements of x; 0 for elements that were lost."""
        return values


class Noise(Perturbation):
    """Clipped Gaussian noise of standard deviation `severity`, in the scale of the model's input."""

    name = "noise"

    def __init__(self, sigma: float, seed: int = 0) -> None:
        self.severity, self.seed = sigma, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        noise = normal_like(x, ids, self.seed, f"noise {self.severity}")
        return x + (self.severity * noise).clamp(-CLIP, CLIP)


class Jpeg(Perturbation):
    """JPEG compression with quality `severity`; channels that are not RGB are compressed one by one."""

    name = "JPEG"

    def __init__(self, domain: ImageDomain, quality: int) -> None:
        self.domain, self.severity = domain, quality

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        picture = self.domain.picture(x).cpu()
        planes = picture if x.shape[1] == 3 else picture.flatten(0, 1)[:, None]
        files = encode_jpeg(list(planes.contiguous()), quality=int(self.severity))
        decoded = torch.stack(decode_jpeg(files))  # pyright: ignore[reportArgumentType] # a list of files gives a list
        return self.domain.normalise(decoded.view_as(picture)).to(x)


class Brightness(Perturbation):
    """Pixels multiplied by 1 + `severity`, clipped at black and white."""

    name = "brightness"

    def __init__(self, domain: ImageDomain, share: float) -> None:
        self.domain, self.severity = domain, share

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(-1, 1, 1).to(x) for v in (self.domain.mean, self.domain.std))
        return (((x * std + mean) * (1 + self.severity)).clamp(0, 1) - mean) / std


class Shift(Perturbation):
    """A shift by `severity` pixels in one of eight random directions; the border is repeated."""

    name = "shift"

    def __init__(self, domain: Domain, pixels: int, seed: int = 0) -> None:
        self.shape, self.severity, self.seed = element_shape(domain), pixels, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        source, _ = self.source(-self.steps(ids))
        return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view_as(x)

    def undo(self, values: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        source, inside = self.source(self.steps(ids))
        return values.gather(1, source) * inside

    def steps(self, ids: Tensor) -> Tensor:
        """(B, 2) shift in pixels, down and to the right."""
        turn = integers(ids, 1, 8, self.seed, f"shift {self.severity}")[:, 0]
        turn = turn + (turn >= 4)  # all of nine neighbours except the centre
        return int(self.severity) * torch.stack([turn // 3 - 1, turn % 3 - 1], 1)

    def source(self, by: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) the element at offset `by` (B, 2) from each, clamped to the border; and whether it is inside."""
        places = [torch.arange(n, device=by.device) + by[:, a, None] for a, n in enumerate(self.shape)]
        within = [(p >= 0) & (p < n) for p, n in zip(places, self.shape, strict=True)]
        rows, columns = (p.clamp(0, n - 1) for p, n in zip(places, self.shape, strict=True))
        flat = rows[:, :, None] * self.shape[1] + columns[:, None]
        return flat.flatten(1), (within[0][:, :, None] & within[1][:, None]).flatten(1)


class Quantise(Perturbation):
    """Quantisation to `severity` bits over the range of each feature or variable in reference inputs.

    Args:
        reference: (M, *shape) inputs.
        domain: of the inputs.
        bits: number of bits.
    """

    name = "bits"

    def __init__(self, reference: Tensor, domain: Domain, bits: int) -> None:
        over = (0, 1) if domain.modality in TIMED else (0,)
        self.low, self.high, self.severity = reference.amin(over), reference.amax(over), bits

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        low, last = self.low.to(x), 2 ** int(self.severity) - 1
        step = (self.high.to(x) - low) / last
        level = ((x - low) / step.clamp_min(torch.finfo(x.dtype).tiny)).round().clamp(0, last)
        return torch.where(step > 0, low + level * step, x)


class UnknownTokens(Perturbation):
    """Replaces a share `severity` of the tokens by the unknown token: at least one, never all."""

    name = "unknown tokens"

    def __init__(self, share: float, seed: int = 0) -> None:
        self.severity, self.seed = share, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        return x.masked_fill(some_tokens(x, ids, self.severity, self.seed, self.name), UNKNOWN)


class DroppedTokens(Perturbation):
    """Deletes a share `severity` of the tokens: at least one, never all; later tokens move up."""

    name = "dropped tokens"

    def __init__(self, share: float, seed: int = 0) -> None:
        self.severity, self.seed = share, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        order, kept = self.order(x, ids)
        return x.gather(1, order) * kept

    def undo(self, values: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        order, kept = self.order(x, ids)
        return torch.zeros_like(values).scatter_(1, order, values * kept)

    def order(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) the token of x at each place, and whether the place is still used."""
        kept = (x != 0) & ~some_tokens(x, ids, self.severity, self.seed, self.name)
        place = torch.arange(x.shape[1], device=x.device)
        return (~kept).long().argsort(dim=1, stable=True), place < kept.sum(1, keepdim=True)


class DroppedEdges(Perturbation):
    """Removes a share `severity` of the edges of graphs of at most `nodes` nodes: at least one, never all."""

    name = "dropped edges"

    def __init__(self, nodes: int, share: float, seed: int = 0) -> None:
        self.nodes, self.severity, self.seed = nodes, share, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        dropped = some_tokens(x[:, self.nodes :, 0], ids, self.severity, self.seed, self.name)
        return torch.cat([x[:, : self.nodes], x[:, self.nodes :].masked_fill(dropped[..., None], 0.0)], 1)


def some_tokens(x: Tensor, ids: Tensor, share: float, seed: int, stream: str) -> Tensor:
    """(B, T) bool: a random share of the tokens of x (B, T): at least one, never all, never padding."""
    existing = x != 0
    length = existing.sum(1, keepdim=True)
    count = (share * length).round().clamp_min(1).minimum(length - 1)
    keys = uniform(ids, x.shape[1], seed, f"{stream} {share}").masked_fill(~existing, math.inf)
    return keys.argsort(1).argsort(1) < count


def perturbations_for(domain: Domain, reference: Tensor, seed: int = 0) -> list[Perturbation]:
    """The perturbations for a modality, each at several severities.

    Args:
        domain: of the inputs.
        reference: (M, *shape) training inputs, the source of value ranges.
        seed: of random perturbations.
    """
    if domain.modality in TOKENS:
        unknown = UnknownTokens if domain.modality == "text" else None  # code has no unknown token
        kinds = [kind for kind in (unknown, DroppedTokens) if kind is not None]
        return [kind(share, seed) for kind in kinds for share in (0.05, 0.1, 0.2)]
    if isinstance(domain, GraphDomain):
        return [DroppedEdges(domain.nodes, share, seed) for share in (0.05, 0.1, 0.2)]
    noise: list[Perturbation] = [Noise(sigma, seed) for sigma in (0.05, 0.1, 0.2)]
    if not isinstance(domain, ImageDomain):
        return noise + [Quantise(reference, domain, bits) for bits in (8, 6, 4)]
    return [
        *noise,
        *(Jpeg(domain, quality) for quality in (90, 50, 25, 10)),
        *(Brightness(domain, share) for share in (0.1, -0.1)),
        *(Shift(domain, pixels, seed) for pixels in (1, 2, 4)),
    ]
