"""The trunk of PatchTST: patches of one channel, a transformer with batch norm, and residual attention."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.base import Encoder
from zoo.utils.checks import check_at_least, check_choice

MIXING = ("none", "window", "full")


class PatchTransformer(nn.Module):
    """Encodes each patch of a series of one variable, (N, T) to (N, P, D).

    Nie, Nguyen, Sinthong, Kalagnanam: "A Time Series is Worth 64 Words", ICLR 2023, arXiv 2211.14730, section 3.1. The
    series is continued by `stride` copies of its last value; batch norm follows each residual connection, and raw
    attention scores are added to those of the next layer (He et al., "RealFormer", 2020).

    Args:
        length: T.
        patch: steps of a patch.
        stride: steps between the first steps of two patches.
        width: D.
        layers: number of layers.
        heads: of attention; they divide `width`.
        hidden: width of the layers' MLPs.
        dropout: share that is dropped after embedding, attention, and in the MLPs.
        mixing: "full": every patch attends to all; "window": to those at most `window` patches away, in each layer;
            "none": to itself alone, so that attention is a linear layer.
        window: see `mixing`.

    Attributes:
        count: P.
        mask: (P, P) bool, where a patch may not attend; None where it may everywhere, or has no attention.

    Raises:
        ValueError: a number out of range, or an unknown choice.
    """

    mask: Tensor | None

    def __init__(
        self,
        length: int,
        patch: int = 16,
        stride: int = 8,
        width: int = 16,
        layers: int = 3,
        heads: int = 4,
        hidden: int = 128,
        dropout: float = 0.3,
        mixing: Literal["none", "window", "full"] = "full",
        window: int = 1,
    ) -> None:
        super().__init__()
        check_at_least(1, patch=patch, stride=stride, width=width, layers=layers, heads=heads, hidden=hidden)
        check_at_least(1, window=window)
        check_choice(MIXING, mixing=mixing)
        if patch > length or stride > patch:
            raise ValueError(
                f"patches are at most as long as the series of {length} steps and not further apart than they are "
                f"long; got patch {patch} and stride {stride}."
            )
        if width % heads:
            raise ValueError(f"heads must divide width; got {heads} heads and width {width}.")
        self.length, self.patch, self.stride, self.mixing = length, patch, stride, mixing
        self.count = (length - patch) // stride + 2
        self.embed = nn.Linear(patch, width)
        self.position = nn.Parameter(torch.empty(self.count, width).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            PatchLayer(width, heads, hidden, dropout, attends=mixing != "none") for _ in range(layers)
        )
        steps = torch.arange(self.count)
        far = (steps[:, None] - steps).abs() > window
        self.register_buffer("mask", far if mixing == "window" else None, persistent=False)
        self.reach = {"none": 0, "window": window * layers, "full": self.count}[mixing]

    def patches(self, x: Tensor) -> Tensor:
        """The patches (N, P, patch) of series (N, T)."""
        return torch.cat([x, x[:, -1:].expand(-1, self.stride)], 1).unfold(1, self.patch, self.stride)

    def spans(self) -> list[tuple[int, int]]:
        """First and last step of each patch, without the copies at the end."""
        starts = range(0, self.count * self.stride, self.stride)
        return [(start, min(start + self.patch, self.length) - 1) for start in starts]

    def forward(self, x: Tensor) -> Tensor:
        z = self.dropout(self.embed(self.patches(x)) + self.position)
        scores = None
        for layer in self.layers:
            z, scores = layer(z, scores, self.mask)
        return z


class PatchLayer(nn.Module):
    """Attention and an MLP, each with a residual connection and batch norm over batch and patches after it.

    Args:
        width: of states.
        heads: of attention.
        hidden: width of the MLP.
        dropout: share that is dropped after each part.
        attends: False: attention to itself alone, for which no query is needed.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, attends: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = (nn.Linear(width, width) if attends else None for _ in range(2))
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, before: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States (N, P, D) after the layer, and its raw attention scores (N, heads, P, P).

        Args:
            z: states (N, P, D).
            before: scores of the layer before.
            mask: (P, P), where a patch may not attend.
        """
        mixed, scores = self._attend(z, before, mask)
        z = self._norm(0, z + self.dropout(self.dropout(mixed)))  # dropped twice in the published code
        mlp = self.second(self.dropout(F.gelu(self.first(z))))
        return self._norm(1, z + self.dropout(mlp)), scores

    def _attend(self, z: Tensor, before: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        value = self.value(z)
        if self.query is None or self.key is None:
            return self.out(value), None
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (self.query(z), self.key(z), value))
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if before is not None:
            scores = scores + before
        open_scores = scores if mask is None else scores.masked_fill(mask, -torch.inf)
        return self.out((open_scores.softmax(-1) @ v).transpose(1, 2).flatten(2)), scores

    def _norm(self, place: int, z: Tensor) -> Tensor:
        return self.norms[place](z.flatten(0, 1)).view_as(z)


class PatchEncoder(Encoder):
    """The states of all patches of all variables, one after the other: series (B, T, V) to (B, `channels`).

    Args:
        length: T.
        variables: V.
        **options: of `PatchTransformer`, which encodes each variable with the same weights.
    """

    def __init__(self, length: int, variables: int, **options: Any) -> None:
        super().__init__()
        self.trunk = PatchTransformer(length, **options)
        self.channels = variables * self.trunk.count * self.trunk.embed.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x.mT.flatten(0, 1)).reshape(len(x), self.channels)
