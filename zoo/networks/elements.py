"""Elements of an input, which groups are made of: patches, words, sentences, stretches of time, features."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import AudioDomain, Domain, GraphDomain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.domain.text import PAD, UNKNOWN
from zoo.networks.smoothing import smooth
from zoo.utils.checks import check_at_least

FILLS = ("zero", "mean", "blur", "token")


class Elements:
    """Divides inputs of `domain` into L elements on a grid S, and hides all but some of them.

    images      patches of `patch` x `patch` pixels              S = (h, w)
    series      `patch` steps of one variable                    S = (T / patch, V)
    texts       words, S = (T,), or sentences, S = (sentences,); a question before a separator is never hidden;
                all pieces of a word, where a tokenizer cuts it, are one element
    tables      features                                         S = (F,)
    graphs      nodes and edges; the edges of a hidden node are hidden too    S = (n + m,)

    Args:
        domain: of the inputs.
        patch: side of a patch in pixels, or steps of a series; 1 for texts and tables.
        sentences: number of sentences of a text that are elements; later ones count as the last. 0: words are elements.

    Attributes:
        several: whether an element may have several tokens.
        grid: S.
        count: L.

    Raises:
        ValueError: a patch larger than the input, or an option that this modality does not have.
    """

    def __init__(self, domain: Domain, patch: int = 1, sentences: int = 0) -> None:
        self.domain, self.patch, self.sentences = domain, patch, sentences
        if isinstance(domain, AudioDomain):
            raise ValueError("clips of audio cannot be divided into elements that are hidden; use AttentionPool.")
        check_at_least(1, patch=patch)
        if patch > 1 and not isinstance(domain, ImageDomain | SeriesDomain):
            raise ValueError(f"patch must be 1 for inputs of modality '{domain.modality}'; got {patch}.")
        if sentences and not isinstance(domain, TextDomain):
            raise ValueError(f"only texts have sentences; got sentences={sentences} for a domain of {domain.noun}.")
        self.several = bool(sentences) or (isinstance(domain, TextDomain) and bool(domain.tokenizer))  # tokens in one
        self.grid = self._grid()
        self.count = math.prod(self.grid)

    def _grid(self) -> tuple[int, ...]:
        sides = self.domain.size if isinstance(self.domain, ImageDomain) else self.domain.shape[:1]
        if self.patch > min(sides):
            raise ValueError(f"patch {self.patch} is larger than the input, {' x '.join(map(str, sides))}.")
        if self.sentences:
            return (self.sentences,)
        cut = tuple(math.ceil(side / self.patch) for side in sides)
        return (*cut, self.domain.shape[1]) if isinstance(self.domain, SeriesDomain) else cut

    def names(self) -> tuple[str, ...]:
        """Names of the L elements, such as "patch at 0, 8"; patches and stretches by their first pixel or step."""
        domain, step = self.domain, self.patch
        if isinstance(domain, TableDomain):
            return domain.features
        if isinstance(domain, ImageDomain):
            return tuple(f"patch at {r * step}, {c * step}" for r in range(self.grid[0]) for c in range(self.grid[1]))
        if isinstance(domain, SeriesDomain):
            return tuple(f"{v} at {t * step}" for t in range(self.grid[0]) for v in domain.variables)
        if isinstance(domain, GraphDomain):
            return tuple(f"node {i}" for i in range(domain.nodes)) + tuple(f"edge {j}" for j in range(domain.edges))
        kind = "sentence" if self.sentences else "word"
        return tuple(f"{kind} {i + 1}" for i in range(self.count))

    def present(self, x: Tensor) -> Tensor | None:
        """(B, L) bool, the elements that each input has to choose from; None if every input has all of them."""
        if isinstance(self.domain, GraphDomain):
            return x[..., 0] > 0
        if not isinstance(self.domain, TextDomain):
            return None
        words = (x != PAD) & ~self.domain.question(x)
        if not self.several:
            return words
        where = self._owner(self.domain, x)
        return torch.zeros_like(x[:, :1].expand(-1, self.count)).scatter_add(1, where, words.long()) > 0

    def reduce(self, values: Tensor) -> Tensor:
        """Averages values over each element.

        Args:
            values: (B, R, *places) of an input's pixels, steps, words or features.

        Returns:
            (B, R, L).
        """
        if isinstance(self.domain, ImageDomain):
            return F.avg_pool2d(values, self.patch, ceil_mode=True, count_include_pad=False).flatten(2)
        if isinstance(self.domain, SeriesDomain):
            return F.avg_pool2d(values, (self.patch, 1), ceil_mode=True, count_include_pad=False).flatten(2)
        return values

    def touched(self, regions: Tensor, x: Tensor) -> Tensor:
        """(B, L) bool, the elements of inputs x that some region (B, R, *places) in [0, 1] covers in part."""
        if not self.several or not isinstance(self.domain, TextDomain):
            return self.reduce(regions).amax(1) > 0
        covered = regions.amax(1) * (x != PAD)
        found = covered.new_zeros(len(x), self.count)
        return found.scatter_reduce(1, self._owner(self.domain, x), covered, "amax") > 0

    def expand(self, mask: Tensor, x: Tensor) -> Tensor:
        """Converts masks over elements (N, L) into masks that broadcast with the inputs x (N, *shape)."""
        if isinstance(self.domain, ImageDomain):
            h, w = self.grid
            p, (height, width) = self.patch, self.domain.size
            tiles = mask.view(-1, 1, h, 1, w, 1).expand(-1, 1, h, p, w, p)
            return tiles.reshape(-1, 1, h * p, w * p)[..., :height, :width]
        if isinstance(self.domain, SeriesDomain):
            return mask.view(-1, *self.grid).repeat_interleave(self.patch, 1)[:, : x.shape[1]]
        if isinstance(self.domain, GraphDomain):
            return mask[..., None]
        if not isinstance(self.domain, TextDomain):
            return mask
        if self.several:
            mask = mask.gather(1, self._owner(self.domain, x))
        asked = self.domain.question(x)
        return mask | asked if mask.dtype == torch.bool else torch.maximum(mask, asked.to(mask.dtype))

    def average(self, states: Tensor, x: Tensor) -> Tensor:
        """Averages states of tokens (B, T, E) over elements (B, L, E); if tokens are elements, returns them unchanged.

        Args:
            states: (B, T, E).
            x: token numbers (B, T).
        """
        if not self.several or not isinstance(self.domain, TextDomain):
            return states
        where, words = self._owner(self.domain, x), (x != PAD).to(states.dtype)
        member = states.new_zeros(x.shape[0], self.count, x.shape[1]).scatter(1, where[:, None], words[:, None])
        return member @ states / member.sum(2, keepdim=True).clamp_min(1)

    def total(self, values: Tensor, x: Tensor) -> Tensor:
        """Adds up values of tokens (B, T, E) over the elements of a text (B, L, E).

        Args:
            values: (B, T, E), 0 at padding.
            x: token numbers (B, T).
        """
        if not self.several or not isinstance(self.domain, TextDomain):
            return values
        where = self._owner(self.domain, x)[..., None].expand_as(values)
        return torch.zeros_like(values[:, :1]).expand(-1, self.count, -1).scatter_add(1, where, values)

    def hide(self, x: Tensor, mask: Tensor, fill: str, token: Tensor | None = None) -> Tensor:
        """Replaces all elements outside of a mask. Nothing of them enters the result, whatever the fill.

        Args:
            x: inputs (N, *shape).
            mask: (N, L) bool, or float for a mask that gradients pass through.
            fill: "zero": the mean of the training set, as inputs are normalised, and padding in texts; "mean": the
                mean of what the mask keeps, per channel; "blur": what the mask keeps, smoothed into its surroundings;
                "token": `token`, and in texts the unknown word.
            token: learned values that broadcast with x.

        Raises:
            ValueError: fill "token" without a token.
        """
        shown = self.expand(mask, x)
        if isinstance(self.domain, TextDomain):
            return torch.where(shown.bool(), x, UNKNOWN if fill == "token" else PAD).where(x != PAD, PAD)
        if isinstance(self.domain, GraphDomain):  # an absent row is 0, whatever the fill; no row is half there
            return torch.where(shown.bool(), x, 0.0)
        if fill == "zero":
            rest = x.new_zeros(())
        elif fill != "token":
            rest = self._mean(x, shown) if fill == "mean" else self._blur(x, shown)
        elif token is None:
            raise ValueError("fill='token' needs the learned values; got token=None.")
        else:
            rest = token
        if mask.dtype == torch.bool:
            return torch.where(shown, x, rest)
        return torch.lerp(rest.to(x.dtype).expand_as(x), x, shown.to(x.dtype).expand_as(x))

    def _mean(self, x: Tensor, shown: Tensor) -> Tensor:
        places = tuple(range(2, x.ndim)) if isinstance(self.domain, ImageDomain) else (1,)
        kept = shown.to(x.dtype).expand_as(x)
        total = torch.where(kept > 0, x * kept, 0).sum(places, keepdim=True)
        return total / kept.sum(places, keepdim=True).clamp_min(1)

    def _blur(self, x: Tensor, shown: Tensor) -> Tensor:
        """Normalised convolution of the kept values with a Gaussian of one patch; 0 where none is near."""
        kept = shown.to(x.dtype).expand_as(x)
        seen = torch.where(kept > 0, x * kept, 0)
        axes = (2, 3) if isinstance(self.domain, ImageDomain) else (1,)
        for axis in axes:
            seen, kept = smooth(seen, float(self.patch), axis), smooth(kept, float(self.patch), axis)
        return seen / kept.clamp_min(1e-3)

    def support(self, masks: Tensor, x: Tensor) -> Tensor:
        """Masks over elements (B, M, L) as supports (B, M, *S), those of words over their tokens (B, M, T)."""
        if self.sentences or not self.several or not isinstance(self.domain, TextDomain):
            return masks.unflatten(2, self.grid)
        owner = self._owner(self.domain, x)[:, None].expand(-1, masks.shape[1], -1)
        return masks.gather(2, owner) * (x != PAD)[:, None]

    def _owner(self, domain: TextDomain, x: Tensor) -> Tensor:
        """(B, T) number of the element that each token belongs to, from 0; padding counts as the last."""
        number = domain.sentences(x) if self.sentences else domain.word_numbers(x)
        return torch.where(number < 0, self.count - 1, number).clamp_max(self.count - 1)
