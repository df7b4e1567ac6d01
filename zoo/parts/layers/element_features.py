"""Features of an input's elements, from which the group generator makes its groups."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import Domain, TextDomain
from zoo.networks.encoders import Pooled, SeriesConvNet, TextBlock, TextTransformer
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.parts.layers.elements import Elements
from zoo.parts.layers.token_dropping import VisionTokens

WIDTH = 64  # of features that are learned from scratch


def create_projection(kind: str, encoder: nn.Module, elements: Elements) -> "CopiedFeatures | PatchFeatures":
    """The projection of a name.

    Args:
        kind: "copy", "patch", or "auto" for the first that the encoder allows.
        encoder: to copy.
        elements: of the input.

    Raises:
        ValueError: an unknown kind, or one that this encoder or domain cannot have.
    """
    possible, text = CopiedFeatures.possible(encoder), isinstance(elements.domain, TextDomain)
    if kind not in ("auto", "copy", "patch"):
        raise ValueError(f"projection must be 'auto', 'copy' or 'patch'; got '{kind}'.")
    if kind == "copy" and not possible:
        raise ValueError("projection='copy' needs a backbone with a map of features; use 'patch'.")
    if kind == "patch" and text:
        raise ValueError("projection='patch' reads numbers, and words are none; use 'copy'.")
    if kind == "patch" or not possible:
        return PatchFeatures(elements.domain, elements, WIDTH)
    return CopiedFeatures(copy.deepcopy(encoder), elements)


class CopiedFeatures(nn.Module):
    """Features (B, L, E) of the elements from a copy of the encoder, its map fitted to their grid.

    Args:
        encoder: with a method `states`, or an image backbone with pooling.
        elements: of the input.
    """

    def __init__(self, encoder: nn.Module, elements: Elements) -> None:
        super().__init__()
        self.encoder, self.elements = encoder, elements
        self.channels = int(encoder.channels)  # pyright: ignore[reportArgumentType]
        series = isinstance(encoder, SeriesConvNet)
        # The map of a series has steps and no variables; each stretch of a variable adds its own values.
        self.own = nn.Linear(elements.patch, self.channels) if series else None
        self.variable = nn.Parameter(torch.randn(elements.grid[1], self.channels)) if series else None

    @staticmethod
    def possible(encoder: nn.Module) -> bool:
        """Whether the encoder has such a map."""
        if isinstance(encoder, VisionTokens | TextTransformer | HuggingFaceText | SeriesConvNet):
            return True
        return isinstance(encoder, Pooled) and not encoder.alone

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.encoder, VisionTokens):
            h = self.encoder.states(x)
            if self.elements.grid == self.encoder.grid:
                return h
            return self._fitted(h.mT.unflatten(2, self.encoder.grid))
        if isinstance(self.encoder, TextTransformer | HuggingFaceText):
            return self.elements.average(self.encoder.states(x), x)
        if isinstance(self.encoder, SeriesConvNet):
            return self._with_variables(self.encoder.states(x), x)
        return self._fitted(self.encoder.backbone(x))  # pyright: ignore[reportCallIssue]

    def _with_variables(self, states: Tensor, x: Tensor) -> Tensor:
        """(B, L, E) of states of steps (B, T, E): of each stretch of time, with each variable's values there."""
        assert self.own is not None and self.variable is not None
        (steps, variables), p = self.elements.grid, self.elements.patch
        over = steps * p - x.shape[1]
        time = F.avg_pool1d(states.mT, p, ceil_mode=True).mT
        values = F.pad(x, (0, 0, 0, over)).view(-1, steps, p, variables).mT
        return (time[:, :, None] + self.own(values) + self.variable).flatten(1, 2)

    def _fitted(self, maps: Tensor) -> Tensor:
        """(B, E, h, w) as (B, L, E)."""
        if maps.shape[2:] != self.elements.grid:
            fine = all(a >= b for a, b in zip(maps.shape[2:], self.elements.grid, strict=True))
            maps = (
                F.adaptive_avg_pool2d(maps, self.elements.grid)
                if fine
                else F.interpolate(maps, self.elements.grid, mode="bilinear", align_corners=False)
            )
        return maps.flatten(2).mT


class PatchFeatures(nn.Module):
    """Features (B, L, E) of an input's elements: their own values and their place, then one Transformer block.

    The fallback for inputs whose backbone has no map of features on the grid of elements.

    Args:
        domain: of images, series or tables.
        elements: of the input.
        width: E, a multiple of 4.
    """

    def __init__(self, domain: Domain, elements: Elements, width: int) -> None:
        super().__init__()
        self.elements, self.channels = elements, width
        values = domain.shape[0] * elements.patch**2 if domain.modality == "image" else elements.patch
        self.embed = nn.Linear(values, width)
        self.place = nn.Parameter(0.02 * torch.randn(elements.count, width))
        self.block = TextBlock(width, 4, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(self._values(x)) + self.place
        return self.block(h, torch.ones(h.shape[:2], dtype=torch.bool, device=h.device))

    def _values(self, x: Tensor) -> Tensor:
        """(B, L, values) the values of each element, 0 beyond the border."""
        p = self.elements.patch
        if self.elements.domain.modality == "image":
            h, w = self.elements.grid
            x = F.pad(x, (0, w * p - x.shape[3], 0, h * p - x.shape[2]))
            return F.unfold(x, p, stride=p).mT
        if self.elements.domain.modality == "series":
            steps, variables = self.elements.grid
            x = F.pad(x, (0, 0, 0, steps * p - x.shape[1]))
            return x.view(-1, steps, p, variables).transpose(2, 3).flatten(1, 2)
        return x[..., None]
