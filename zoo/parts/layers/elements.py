"""The elements of an input, of which a group holds some: patches, words, sentences, stretches of time, features."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain, ImageDomain, TableDomain, TextDomain
from zoo.domain.text import PAD, UNKNOWN


@dataclass(frozen=True)
class Grouping:
    """How many groups, how many elements in each (as a share or a whole number), and by how many heads."""

    groups: int
    size: float
    heads: int

    def check(self, elements: int, anchors: str, made: "Grouping") -> None:
        """Refuses numbers that cannot be.

        Args:
            elements: L, of the input.
            anchors: of the groups, see `GroupGenerator`.
            made: what the model was made with.

        Raises:
            ValueError: an impossible size, more heads than there are, or more groups than candidates.
        """
        group_size(self.size, elements)
        if not 1 <= self.heads <= made.heads:
            raise ValueError(f"heads must be 1 to {made.heads}, as the model has; got {self.heads}.")
        candidates = made.groups if anchors == "learned" else self.heads * elements
        of = "learned queries" if anchors == "learned" else f"candidates, {self.heads} heads x {elements} elements"
        if not 1 <= self.groups <= candidates:
            raise ValueError(f"groups must be 1 to {candidates}, the number of {of}; got {self.groups}.")
        if anchors == "all" and self.groups != candidates:
            raise ValueError(f"anchors='all' makes a group of all {candidates} {of}; got groups={self.groups}.")


FILLS = ("zero", "mean", "blur", "token")


class Elements:
    """How an input of `domain` divides into L elements on a grid S, and how all but some of them are hidden.

    images      patches of `patch` x `patch` pixels              S = (h, w)
    series      `patch` steps of one variable                    S = (T / patch, V)
    texts       words, S = (T,), or sentences, S = (sentences,); a question before a separator is never hidden
    tables      features                                         S = (F,)

    Args:
        domain: of the inputs.
        patch: side of a patch in pixels, or steps of a series; texts and tables have none.
        sentences: how many sentences of a text to tell apart, later ones count as the last; 0 for words as elements.

    Raises:
        ValueError: a patch larger than the input, or an option that this modality does not have.
    """

    def __init__(self, domain: Domain, patch: int = 1, sentences: int = 0) -> None:
        self.domain, self.patch, self.sentences = domain, patch, sentences
        spatial = domain.modality in ("image", "series")
        if patch < 1 or (patch > 1 and not spatial):
            raise ValueError(
                f"patch must be at least 1, and 1 for inputs of modality '{domain.modality}'; got {patch}."
                if not spatial
                else f"patch must be at least 1; got {patch}."
            )
        if sentences and not isinstance(domain, TextDomain):
            raise ValueError(f"only texts have sentences; got sentences={sentences} for a domain of {domain.noun}.")
        self.grid = self._grid()
        self.count = math.prod(self.grid)

    def _grid(self) -> tuple[int, ...]:
        sides = self.domain.size if isinstance(self.domain, ImageDomain) else self.domain.shape[:1]
        if self.patch > min(sides):
            raise ValueError(f"patch {self.patch} is larger than the input, {' x '.join(map(str, sides))}.")
        if self.sentences:
            return (self.sentences,)
        cut = tuple(math.ceil(side / self.patch) for side in sides)
        return (*cut, self.domain.shape[1]) if self.domain.modality == "series" else cut

    def names(self) -> tuple[str, ...]:
        """What each element is called."""
        domain, step = self.domain, self.patch
        if isinstance(domain, TextDomain):
            what = "sentence" if self.sentences else "word"
            return tuple(f"{what} {i + 1}" for i in range(self.count))
        if isinstance(domain, TableDomain):
            return domain.features
        if isinstance(domain, ImageDomain):
            return tuple(f"patch at {r * step}, {c * step}" for r in range(self.grid[0]) for c in range(self.grid[1]))
        return tuple(f"{v} at {t * step}" for t in range(self.grid[0]) for v in domain.variables)

    def present(self, x: Tensor) -> Tensor | None:
        """(B, L) the elements that there are to choose from; None if that is all of them in every input."""
        if not isinstance(self.domain, TextDomain):
            return None
        words = (x != PAD) & ~self.domain.question(x)
        if not self.sentences:
            return words
        where = self._sentence(x)
        return torch.zeros_like(x[:, :1].expand(-1, self.sentences)).scatter_add(1, where, words.long()) > 0

    def reduce(self, values: Tensor) -> Tensor:
        """Values (B, R, *places) of an input's pixels, steps, words or features as means over elements (B, R, L)."""
        if isinstance(self.domain, ImageDomain):
            return F.avg_pool2d(values, self.patch, ceil_mode=True, count_include_pad=False).flatten(2)
        if self.domain.modality == "series":
            return F.avg_pool2d(values, (self.patch, 1), ceil_mode=True, count_include_pad=False).flatten(2)
        return values

    def expand(self, mask: Tensor, x: Tensor) -> Tensor:
        """Masks (N, L) over elements as masks over the inputs x (N, *shape), of a shape that broadcasts with them."""
        if isinstance(self.domain, ImageDomain):
            h, w = self.grid
            p, (height, width) = self.patch, self.domain.size
            tiles = mask.view(-1, 1, h, 1, w, 1).expand(-1, 1, h, p, w, p)
            return tiles.reshape(-1, 1, h * p, w * p)[..., :height, :width]
        if self.domain.modality == "series":
            return mask.view(-1, *self.grid).repeat_interleave(self.patch, 1)[:, : x.shape[1]]
        if self.sentences:
            mask = mask.gather(1, self._sentence(x))
        if isinstance(self.domain, TextDomain):
            asked = self.domain.question(x)
            return mask | asked if mask.dtype == torch.bool else torch.maximum(mask, asked.to(mask.dtype))
        return mask

    def average(self, states: Tensor, x: Tensor) -> Tensor:
        """States of words (B, T, E) as states of the elements (B, L, E): themselves, or means over sentences."""
        if not self.sentences:
            return states
        where, words = self._sentence(x), (x != PAD).to(states.dtype)
        member = states.new_zeros(x.shape[0], self.sentences, x.shape[1]).scatter(1, where[:, None], words[:, None])
        return member @ states / member.sum(2, keepdim=True).clamp_min(1)

    def hide(self, x: Tensor, mask: Tensor, fill: str, token: Tensor | None = None) -> Tensor:
        """Inputs x (N, *shape) with all elements outside of masks (N, L) replaced.

        Args:
            x: of the domain.
            mask: bool, or float for a mask that gradients shall reach.
            fill: "zero": the mean of the training set, as inputs are normalised, and padding in texts; "mean": of what
                the mask keeps, per channel; "blur": of what the mask keeps, smoothed into its surroundings; "token":
                `token`, and in texts the unknown word. Whatever the fill, nothing outside of the mask enters.
            token: learned values that broadcast with x.
        """
        shown = self.expand(mask, x)
        if isinstance(self.domain, TextDomain):
            return torch.where(shown.bool(), x, UNKNOWN if fill == "token" else PAD).where(x != PAD, PAD)
        if fill == "zero":
            rest = x.new_zeros(())
        elif fill == "token":
            rest = token
        else:
            rest = self._mean(x, shown) if fill == "mean" else self._blur(x, shown)
        if mask.dtype == torch.bool:
            return torch.where(shown, x, rest)
        return torch.lerp(torch.as_tensor(rest, dtype=x.dtype).expand_as(x), x, shown.to(x.dtype).expand_as(x))

    def _mean(self, x: Tensor, shown: Tensor) -> Tensor:
        places = tuple(range(2, x.ndim)) if isinstance(self.domain, ImageDomain) else (1,)
        kept = shown.to(x.dtype).expand_as(x)
        return torch.where(kept > 0, x * kept, 0).sum(places, keepdim=True) / kept.sum(places, keepdim=True).clamp_min(
            1
        )

    def _blur(self, x: Tensor, shown: Tensor) -> Tensor:
        """Normalised convolution with a Gaussian of one patch: of kept values only, 0 where none is near."""
        kept = shown.to(x.dtype).expand_as(x)
        seen = torch.where(kept > 0, x * kept, 0)
        axes = (2, 3) if isinstance(self.domain, ImageDomain) else (1,)
        for axis in axes:
            seen, kept = smooth(seen, float(self.patch), axis), smooth(kept, float(self.patch), axis)
        return seen / kept.clamp_min(1e-3)

    def _sentence(self, x: Tensor) -> Tensor:
        """(B, T) the sentence that each word belongs to, from 0 on; padding counts as the last."""
        assert isinstance(self.domain, TextDomain)
        number = self.domain.sentences(x)
        return torch.where(number < 0, self.sentences - 1, number).clamp_max(self.sentences - 1)


def smooth(values: Tensor, sigma: float, axis: int, radius: int | None = None) -> Tensor:
    """Gaussian blur along one axis, with zeros beyond the border.

    Args:
        values: any shape.
        sigma: of the Gaussian, in cells.
        axis: to blur along.
        radius: of the kernel; 3 sigma by default.
    """
    radius = math.ceil(3 * sigma) if radius is None else radius
    steps = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = (-0.5 * (steps / sigma).square()).softmax(0)
    moved = values.movedim(axis, -1)
    flat = moved.reshape(-1, 1, moved.shape[-1])
    return F.conv1d(flat, kernel[None, None], padding=radius).view(moved.shape).movedim(-1, axis)


def group_size(size: float, elements: int) -> int:
    """Elements of a group: `size` itself if it is a whole number, else that share of all, rounded down.

    Raises:
        ValueError: no element, or more than there are.
    """
    wanted = size if isinstance(size, int) else math.floor(size * elements + 1e-9)
    if isinstance(size, bool) or not 1 <= wanted <= elements:
        raise ValueError(
            f"size must leave a group 1 to {elements} of the input's {elements} elements, as a whole number or as a "
            f"share in (0, 1]; got {size}, which is {wanted}."
        )
    return wanted
