"""The group generator of Sum-of-Parts: attention among the elements, cut to the strongest of each row."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.parts.layers.elements import Elements, Grouping, smooth


class GroupGenerator(nn.Module):
    """Candidate groups as rows of attention: features (B, L, E) to attention (B, M, L), each row sums to 1.

        S = s (W_q e_anchor) · (W_k e) / √E, blurred over the grid, softmax over the elements that are there

    A candidate is a pair of a head and an anchor. `anchors` says where the queries come from: "stride" takes M pairs
    at equal distances, the published choice (only these are computed); "all" takes all K L of them; "learned" takes
    M learned queries instead of elements, which then are no places but kinds of groups.

    Args:
        features: E.
        elements: of the input.
        groups: M, for "learned".
        heads: K.
        anchors: "stride", "all" or "learned".
        sharpness: s; the paper's s_g is s / √E.
        blur: side of the Gaussian kernel in cells, odd, standard deviation 1; 1 for none.
        normalise: features to unit variance before, so that s means the same for every encoder.
    """

    def __init__(
        self,
        features: int,
        elements: Elements,
        groups: int,
        heads: int,
        anchors: str,
        sharpness: float,
        blur: int,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.elements, self.blur = elements, blur
        self.register_buffer("sharpness", torch.tensor(float(sharpness)))
        self.norm = nn.LayerNorm(features, elementwise_affine=False) if normalise else nn.Identity()
        shape = (heads, features, features)
        self.query, self.key = (nn.Parameter(torch.empty(shape)) for _ in range(2))
        for matrix in (*self.query, *self.key):
            nn.init.xavier_uniform_(matrix)
        self.places = nn.Parameter(torch.randn(groups, features)) if anchors == "learned" else None

    def forward(self, features: Tensor, present: Tensor | None, grouping: Grouping) -> tuple[Tensor, Tensor]:
        """Scores before the softmax (B, M, L), -inf where nothing is, and attention (B, M, L)."""
        e = self.norm(features)
        heads = grouping.heads
        head, place = self.candidates(grouping, e.device)
        anchors = e[:, place] if self.places is None else self.places[place].expand(e.shape[0], -1, -1)
        queries = torch.einsum("bme,mef->bmf", anchors, self.query[head])
        keys = torch.einsum("ble,kef->bklf", e, self.key[:heads])
        scores = torch.einsum("bmf,bmlf->bml", queries, keys[:, head]) if heads > 1 else queries @ keys[:, 0].mT
        scores = self.blurred(self.sharpness / math.sqrt(e.shape[2]) * scores)
        if present is not None:
            scores = scores.masked_fill(~present[:, None], -torch.inf)
        return scores, scores.softmax(2)

    def candidates(self, grouping: Grouping, device: torch.device) -> tuple[Tensor, Tensor]:
        """Head (M,) and anchor (M,) of every group."""
        number = torch.arange(grouping.groups, device=device)
        if self.places is not None:
            return number % grouping.heads, number
        count = self.elements.count
        pairs = number * (grouping.heads * count) // grouping.groups
        return pairs // count, pairs % count

    def sharpen(self, seen: Sequence[tuple[Tensor, Tensor]], inside: float = 0.75) -> None:
        """Sets s so that groups hold a share of the attention in the mean, by bisection.

        Args:
            seen: batches of scores (B, M, L) at the present s, and of their groups (B, M, L).
            inside: the share.
        """
        low, high = 0.01, 1000.0
        while high / low > 1.01:
            middle = (low * high) ** 0.5
            shares = [((middle / self.sharpness * scores).softmax(2) * mask).sum(2).mean(1) for scores, mask in seen]
            low, high = (middle, high) if torch.cat(shares).mean() < inside else (low, middle)
        self.sharpness.fill_(low)

    def blurred(self, scores: Tensor) -> Tensor:
        """Scores (B, M, L) smoothed over the grid; along time, not across variables, for series."""
        if self.blur == 1:
            return scores
        maps = scores.unflatten(2, self.elements.grid)
        axes = range(2, 2 + min(len(self.elements.grid), 2 if self.elements.domain.modality == "image" else 1))
        for axis in axes:
            maps = smooth(maps, 1.0, axis, self.blur // 2)
        return maps.flatten(2)


def strongest(scores: Tensor, count: Tensor) -> Tensor:
    """(B, M, L) bool: the `count` (B,) highest of each row, ties to the lowest number."""
    order = scores.argsort(dim=2, descending=True, stable=True)
    place = torch.arange(scores.shape[2], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter(2, order, place)
    return rank < count[:, None, None]


def membership(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask (B, M, L) as numbers whose gradient reaches the scores: straight through a relaxed threshold.

    The relaxation is σ(s - t) with t halfway between the weakest score inside and the strongest outside.
    """
    low, high = torch.finfo(scores.dtype).min, torch.finfo(scores.dtype).max
    inside = scores.masked_fill(~mask, high).amin(2, keepdim=True)
    outside = scores.masked_fill(mask, low).amax(2, keepdim=True)
    threshold = torch.where(outside > low, (inside + outside) / 2, inside).detach()
    soft = torch.sigmoid(scores - threshold)
    return mask.to(soft.dtype) + (soft - soft.detach())  # in this order, exactly the mask
