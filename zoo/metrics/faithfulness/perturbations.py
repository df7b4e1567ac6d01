"""Perturbations: small changes of an input that should not matter, and the way back for maps where places move.

Each is called with inputs (B, *shape) and the ids (B,) of the samples, and returns inputs of the same shape. Random
ones follow from (seed, id).
"""

import math

import torch
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg

from zoo.domain import Domain, ImageDomain
from zoo.metrics.faithfulness.elements import TOKENS, element_shape
from zoo.metrics.faithfulness.streams import normal_like, uniform, whole

CLIP = 0.25  # at most so much noise, in units of the model's input
UNKNOWN = 1  # the number of the token for words that are not known


class Perturbation:
    """The base: `severity` is in the unit of its kind."""

    name: str
    severity: float

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        """The perturbed inputs (B, *shape)."""
        raise NotImplementedError("a perturbation defines how it changes inputs")

    def undo(self, values: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        """(B, N) a map over the elements of the perturbed inputs, back in the places of x; 0 where these are gone."""
        return values


class Noise(Perturbation):
    """Gaussian noise of standard deviation `severity`, clipped, in units of the model's input."""

    name = "noise"

    def __init__(self, sigma: float, seed: int = 0) -> None:
        self.severity, self.seed = sigma, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        noise = normal_like(x, ids, self.seed, f"noise {self.severity}")
        return x + (self.severity * noise).clamp(-CLIP, CLIP)


class Jpeg(Perturbation):
    """The picture as JPEG of quality `severity` and back, 8 bits a channel; other than RGB, each channel for itself."""

    name = "JPEG"

    def __init__(self, domain: ImageDomain, quality: int) -> None:
        self.domain, self.severity = domain, quality

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        picture = self.domain.picture(x).cpu()
        planes = picture if x.shape[1] == 3 else picture.flatten(0, 1)[:, None]
        files = encode_jpeg(list(planes.contiguous()), quality=int(self.severity))
        return self.domain.normalise(torch.stack(decode_jpeg(files)).view_as(picture)).to(x)


class Brightness(Perturbation):
    """Every pixel brighter by the share `severity`, or darker where that is negative; clipped at black and white."""

    name = "brightness"

    def __init__(self, domain: ImageDomain, share: float) -> None:
        self.domain, self.severity = domain, share

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(-1, 1, 1).to(x) for v in (self.domain.mean, self.domain.std))
        return (((x * std + mean) * (1 + self.severity)).clamp(0, 1) - mean) / std


class Shift(Perturbation):
    """The image moved by `severity` pixels in one of eight directions; what comes in repeats the border."""

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
        """(B, 2) by how many pixels down and to the right."""
        turn = whole(ids, 1, 8, self.seed, f"shift {self.severity}")[:, 0]
        turn = turn + (turn >= 4)  # of nine neighbours all but the centre
        return int(self.severity) * torch.stack([turn // 3 - 1, turn % 3 - 1], 1)

    def source(self, by: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) the element that many steps (B, 2) from each, or the nearest on the border; whether it is inside."""
        places = [torch.arange(n, device=by.device) + by[:, a, None] for a, n in enumerate(self.shape)]
        within = [(p >= 0) & (p < n) for p, n in zip(places, self.shape, strict=True)]
        rows, columns = (p.clamp(0, n - 1) for p, n in zip(places, self.shape, strict=True))
        flat = rows[:, :, None] * self.shape[1] + columns[:, None]
        return flat.flatten(1), (within[0][:, :, None] & within[1][:, None]).flatten(1)


class Quantise(Perturbation):
    """Numbers of `severity` bits, over the range of each feature or variable in reference inputs.

    Args:
        reference: (M, *shape).
        domain: of the inputs.
        bits: of each number.
    """

    name = "bits"

    def __init__(self, reference: Tensor, domain: Domain, bits: int) -> None:
        over = (0, 1) if domain.modality == "series" else (0,)
        self.low, self.high, self.severity = reference.amin(over), reference.amax(over), bits

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        low, last = self.low.to(x), 2 ** int(self.severity) - 1
        step = (self.high.to(x) - low) / last
        level = ((x - low) / step.clamp_min(torch.finfo(x.dtype).tiny)).round().clamp(0, last)
        return torch.where(step > 0, low + level * step, x)


class UnknownTokens(Perturbation):
    """The share `severity` of a text's tokens as words that are not known: at least one token, never all."""

    name = "unknown tokens"

    def __init__(self, share: float, seed: int = 0) -> None:
        self.severity, self.seed = share, seed

    def __call__(self, x: Tensor, ids: Tensor) -> Tensor:
        return x.masked_fill(some_tokens(x, ids, self.severity, self.seed, self.name), UNKNOWN)


class DroppedTokens(Perturbation):
    """A text without the share `severity` of its tokens, at least one, never all; what follows them moves up."""

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
        """(B, T) which token of x stands at each place, and whether there still is one."""
        kept = (x != 0) & ~some_tokens(x, ids, self.severity, self.seed, self.name)
        place = torch.arange(x.shape[1], device=x.device)
        return (~kept).long().argsort(dim=1, stable=True), place < kept.sum(1, keepdim=True)


def some_tokens(x: Tensor, ids: Tensor, share: float, seed: int, stream: str) -> Tensor:
    """(B, T) bool: the share of the tokens of x (B, T), at least one, never all; padding is none of them."""
    there = x != 0
    length = there.sum(1, keepdim=True)
    count = (share * length).round().clamp_min(1).minimum(length - 1)
    keys = uniform(ids, x.shape[1], seed, f"{stream} {share}").masked_fill(~there, math.inf)
    return keys.argsort(1).argsort(1) < count


def perturbations_for(domain: Domain, reference: Tensor, seed: int = 0) -> list[Perturbation]:
    """The perturbations that suit a modality, each in several severities.

    Args:
        domain: of the inputs.
        reference: (M, *shape) training inputs: where the ranges of numbers come from.
        seed: of the random ones.
    """
    if domain.modality in TOKENS:
        unknown = UnknownTokens if domain.modality == "text" else None  # code has no token for the unknown
        kinds = [kind for kind in (unknown, DroppedTokens) if kind is not None]
        return [kind(share, seed) for kind in kinds for share in (0.05, 0.1, 0.2)]
    noise: list[Perturbation] = [Noise(sigma, seed) for sigma in (0.05, 0.1, 0.2)]
    if not isinstance(domain, ImageDomain):
        return noise + [Quantise(reference, domain, bits) for bits in (8, 6, 4)]
    return [
        *noise,
        *(Jpeg(domain, quality) for quality in (90, 50, 25, 10)),
        *(Brightness(domain, share) for share in (0.1, -0.1)),
        *(Shift(domain, pixels, seed) for pixels in (1, 2, 4)),
    ]
