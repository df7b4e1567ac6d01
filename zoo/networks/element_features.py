"""Features of an input's elements, from which the group generator computes its groups."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import Domain, ImageDomain, SeriesDomain, TextDomain
from zoo.networks.base import Encoder, StateEncoder
from zoo.networks.elements import Elements
from zoo.networks.image_backbones import Pooled
from zoo.networks.text_encoders import TextBlock
from zoo.networks.token_dropping import VisionTokens
from zoo.utils.checks import check_choice

WIDTH = 64  # of features that are learned from scratch


def create_projection(kind: str, encoder: Encoder, elements: Elements) -> "CopiedFeatures | PatchFeatures":
    """Builds a projection from inputs to features of their elements.

    Args:
        kind: "copy", "patch", or "auto" for the first of them that the encoder allows.
        encoder: to copy.
        elements: of the input.

    Raises:
        ValueError: an unknown kind, or one that does not fit this encoder or domain.
    """
    check_choice(("auto", "copy", "patch"), projection=kind)
    possible = CopiedFeatures.possible(encoder)
    if kind == "copy" and not possible:
        raise ValueError("projection='copy' needs a backbone with a map of features; use 'patch'.")
    if kind == "patch" and isinstance(elements.domain, TextDomain):
        raise ValueError("projection='patch' requires continuous inputs, and text tokens are discrete; use 'copy'.")
    if kind == "patch" or not possible:
        return PatchFeatures(elements.domain, elements, WIDTH)
    return CopiedFeatures(copy.deepcopy(encoder), elements)


class CopiedFeatures(nn.Module):
    """Features (B, L, E) of the elements from a copy of the encoder, its feature map fitted to their grid.

    Args:
        encoder: gives a state for each position, or is an image backbone with pooling.
        elements: of the input.
    """

    def __init__(self, encoder: Encoder, elements: Elements) -> None:
        super().__init__()
        self.encoder, self.elements, self.channels = encoder, elements, encoder.channels
        series = isinstance(elements.domain, SeriesDomain)
        # The map of a series has steps but no variables, so the values of each variable are added.
        self.own = nn.Linear(elements.patch, self.channels) if series else None
        self.variable = nn.Parameter(torch.randn(elements.grid[1], self.channels)) if series else None

    @staticmethod
    def possible(encoder: Encoder) -> bool:
        """Whether the encoder has such a map."""
        return isinstance(encoder, StateEncoder) or (isinstance(encoder, Pooled) and not encoder.separate)

    def forward(self, x: Tensor) -> Tensor:
        encoder = self.encoder
        if isinstance(encoder, Pooled):
            return self._fitted(encoder.backbone(x))
        assert isinstance(encoder, StateEncoder)  # or `possible` is false
        states = encoder.states(x)
        if self.own is not None and self.variable is not None:
            return self._stretches(states, x, self.own, self.variable)
        if isinstance(encoder, VisionTokens):
            return states if self.elements.grid == encoder.grid else self._fitted(states.mT.unflatten(2, encoder.grid))
        return self.elements.average(states, x)

    def _fitted(self, maps: Tensor) -> Tensor:
        """Resizes maps (B, E, h, w) to the grid of the elements (B, L, E)."""
        height, width = self.elements.grid
        if maps.shape[2:] != self.elements.grid:
            if maps.shape[2] >= height and maps.shape[3] >= width:
                maps = F.adaptive_avg_pool2d(maps, (height, width))
            else:
                maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
        return maps.flatten(2).mT

    def _stretches(self, states: Tensor, x: Tensor, own: nn.Linear, variable: nn.Parameter) -> Tensor:
        """Features (B, L, E) of stretches of time of each variable.

        Args:
            states: of time steps (B, T, E), averaged over each stretch.
            x: series (B, T, V), whose values in the stretch are added.
            own: layer from the values of a stretch to E.
            variable: (V, E) features of each variable.
        """
        (steps, variables), p = self.elements.grid, self.elements.patch
        over = steps * p - x.shape[1]
        time = F.avg_pool1d(states.mT, p, ceil_mode=True).mT
        values = F.pad(x, (0, 0, 0, over)).view(-1, steps, p, variables).mT
        return (time[:, :, None] + own(values) + variable).flatten(1, 2)


class PatchFeatures(nn.Module):
    """Features (B, L, E) of an input's elements: their own values and their place, then one Transformer block.

    For inputs whose backbone has no map of features on the grid of elements.

    Args:
        domain: of images, series or tables.
        elements: of the input.
        width: E, a multiple of 4.
    """

    def __init__(self, domain: Domain, elements: Elements, width: int) -> None:
        super().__init__()
        self.elements, self.channels = elements, width
        values = domain.channels * elements.patch**2 if isinstance(domain, ImageDomain) else elements.patch
        self.embed = nn.Linear(values, width)
        self.place = nn.Parameter(0.02 * torch.randn(elements.count, width))
        self.block = TextBlock(width, 4, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(self._values(x)) + self.place
        return self.block(h, torch.ones(h.shape[:2], dtype=torch.bool, device=h.device))

    def _values(self, x: Tensor) -> Tensor:
        """Values of each element (B, L, values); 0 beyond the border."""
        p = self.elements.patch
        if isinstance(self.elements.domain, ImageDomain):
            h, w = self.elements.grid
            x = F.pad(x, (0, w * p - x.shape[3], 0, h * p - x.shape[2]))
            return F.unfold(x, p, stride=p).mT
        if isinstance(self.elements.domain, SeriesDomain):
            steps, variables = self.elements.grid
            x = F.pad(x, (0, 0, 0, steps * p - x.shape[1]))
            return x.view(-1, steps, p, variables).transpose(2, 3).flatten(1, 2)
        return x[..., None]
