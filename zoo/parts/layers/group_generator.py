"""The group generator of Sum-of-Parts: attention among the elements, cut to the highest scores of each row."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from zoo.domain import ImageDomain
from zoo.networks.elements import Elements
from zoo.networks.smoothing import smooth
from zoo.parts.layers.grouping import Grouping
from zoo.utils.checks import check_choice
from zoo.utils.functional import at_least_fp32

START = 4.0  # sharpness until the action `clone` sets it
Border = Literal["excluded", "zero"]


@dataclass(frozen=True)
class GeneratorOptions:
    """Options of the group generator."""

    sharpness: float | None = None
    """Factor s of the attention's scores; the paper's s_g is s / sqrt(E). By default, the action `clone` sets it so
    that the mean of c is 0.5 at the start. If it is low, c starts below 0, which gives a warning."""
    blur: int = 3
    """Side of the Gaussian over the scores in cells, odd; 1 for none. Published: 3 (images), 15 (texts), 1 (maps)."""
    normalise: bool = True
    """Scale features to unit variance before the attention, so that the sharpness means the same for every encoder."""
    border: Border = "excluded"
    """Cells beyond the border, and elements that an input does not have: "excluded" from the mean that the blur
    computes; "zero": scores of 0, which favours cells at the border wherever scores are negative. Checkpoints of
    version 0.1 and earlier use "zero"."""

    def __post_init__(self) -> None:
        check_choice(get_args(Border), border=self.border)
        if (self.sharpness is not None and not self.sharpness > 0) or self.blur < 1 or self.blur % 2 == 0:
            raise ValueError(
                f"expected a sharpness above 0 and an odd blur >= 1; got sharpness {self.sharpness}, blur {self.blur}."
            )


class GroupGenerator(nn.Module):
    """Computes candidate groups as rows of attention: features (B, L, E) to attention (B, M, L), each row sums to 1.

        S = s (W_q e_anchor) · (W_k e) / √E, blurred over the grid, softmax over the elements that are present

    A candidate is a pair of a head and an anchor. With anchors "stride", M pairs at equal distances are used, the
    published choice (only these are computed); with "all", all K L pairs; with "learned", M learned queries take the
    place of elements as anchors, so that a group stands for a kind of group instead of a place.

    Args:
        features: E.
        elements: of the input.
        grouping: number of groups M and heads K, and the anchors.
        options: of the attention.
    """

    sharpness: Tensor

    def __init__(self, features: int, elements: Elements, grouping: Grouping, options: GeneratorOptions) -> None:
        super().__init__()
        self.elements, self.blur, self.border = elements, options.blur, options.border
        self.register_buffer("sharpness", torch.tensor(float(options.sharpness or START)))
        self.norm = nn.LayerNorm(features, elementwise_affine=False) if options.normalise else nn.Identity()
        shape = (grouping.heads, features, features)
        self.query, self.key = (nn.Parameter(torch.empty(shape)) for _ in range(2))
        for matrix in (*self.query, *self.key):
            nn.init.xavier_uniform_(matrix)
        learned = grouping.anchors == "learned"
        self.places = nn.Parameter(torch.randn(grouping.groups, features)) if learned else None

    def forward(self, features: Tensor, present: Tensor | None, grouping: Grouping) -> tuple[Tensor, Tensor]:
        """Computes scores before the softmax (B, M, L), -inf where no element is present, and attention (B, M, L).

        Args:
            features: (B, L, E).
            present: (B, L) bool, the elements that each input has; None for all.
            grouping: number of groups and heads to use, at most those that the generator was built with.
        """
        with torch.autocast(features.device.type, enabled=False):  # rounding would exchange elements of the groups
            scores = self._scores(at_least_fp32(features), present, grouping)
        return scores, scores.softmax(2)

    def _scores(self, features: Tensor, present: Tensor | None, grouping: Grouping) -> Tensor:
        e = self.norm(features)
        heads = grouping.heads
        head, place = self.candidates(grouping, e.device)
        anchors = e[:, place] if self.places is None else self.places[place].expand(e.shape[0], -1, -1)
        queries = torch.einsum("bme,mef->bmf", anchors, self.query[head])
        keys = torch.einsum("ble,kef->bklf", e, self.key[:heads])
        scores = torch.einsum("bmf,bmlf->bml", queries, keys[:, head]) if heads > 1 else queries @ keys[:, 0].mT
        scores = self.blurred(self.sharpness / math.sqrt(e.shape[2]) * scores, present)
        if present is not None:
            scores = scores.masked_fill(~present[:, None], -torch.inf)
        return scores

    def candidates(self, grouping: Grouping, device: torch.device) -> tuple[Tensor, Tensor]:
        """Head (M,) and anchor (M,) of every group."""
        number = torch.arange(grouping.groups, device=device)
        if self.places is not None:
            return number % grouping.heads, number
        count = self.elements.count
        pairs = number * (grouping.heads * count) // grouping.groups
        return pairs // count, pairs % count

    @torch.no_grad()
    def sharpen(self, seen: Sequence[tuple[Tensor, Tensor]], inside: float = 0.75) -> None:
        """Sets the sharpness so that groups hold a given share of the attention on average, by bisection.

        Args:
            seen: batches of scores (B, M, L) at the present sharpness, and of their groups (B, M, L).
            inside: the share.
        """
        low, high = 0.01, 1000.0
        while high / low > 1.01:
            middle = (low * high) ** 0.5
            shares = [((middle / self.sharpness * scores).softmax(2) * mask).sum(2).mean(1) for scores, mask in seen]
            low, high = (middle, high) if torch.cat(shares).mean() < inside else (low, middle)
        self.sharpness.fill_(low)

    def blurred(self, scores: Tensor, present: Tensor | None) -> Tensor:
        """Blurs scores (B, M, L) over the grid; those of series along time only, not across variables.

        Args:
            scores: (B, M, L).
            present: (B, L) bool, the elements that each input has; None for all.
        """
        if self.blur == 1:
            return scores
        if self.border == "zero":
            return self._smooth(scores)
        # A mean over the cells that exist; so a constant added to all scores stays one, and cancels in the softmax.
        there = torch.ones_like(scores[:, :1]) if present is None else present[:, None].to(scores.dtype)
        return self._smooth(scores * there) / self._smooth(there).clamp_min(torch.finfo(scores.dtype).tiny)

    def _smooth(self, scores: Tensor) -> Tensor:
        maps = scores.unflatten(2, self.elements.grid)
        for axis in (2, 3) if isinstance(self.elements.domain, ImageDomain) else (2,):
            maps = smooth(maps, 1.0, axis, self.blur // 2)
        return maps.flatten(2)


def highest(scores: Tensor, count: Tensor) -> Tensor:
    """(B, M, L) bool: the `count` (B,) highest scores of each row; ties go to the lowest index."""
    order = scores.argsort(dim=2, descending=True, stable=True)
    place = torch.arange(scores.shape[2], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter(2, order, place)
    return rank < count[:, None, None]


def straight_through(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask (B, M, L) as floats whose gradient reaches the scores through a relaxed threshold.

    The relaxation is σ(s - t), with t halfway between the lowest score inside and the highest outside.
    """
    low, high = torch.finfo(scores.dtype).min, torch.finfo(scores.dtype).max
    inside = scores.masked_fill(~mask, high).amin(2, keepdim=True)
    outside = scores.masked_fill(mask, low).amax(2, keepdim=True)
    threshold = torch.where(outside > low, (inside + outside) / 2, inside).detach()
    soft = torch.sigmoid(scores - threshold)
    return mask.to(soft.dtype) + (soft - soft.detach())  # in this order, the values are exactly those of the mask


def warn_if_negative(mass: Tensor) -> None:
    """Warns if the mean of c (B, M), the attention inside groups minus outside, is negative."""
    if (mean := float(mass.mean())) < 0:
        warnings.warn(
            f"the groups hold less than half of the attention (mean c = {mean:.2f}), which turns the signs of all "
            "contributions; raise sharpness, or use larger groups.",
            stacklevel=2,
        )
