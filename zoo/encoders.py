"""Encoders: networks from any input of a domain to one vector, for the models that need no map."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from zoo.backbones import Backbone, create_backbone
from zoo.domain import Domain, ImageDomain, TableDomain

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class Pooled(nn.Module):
    """An image backbone with global average pooling: (B, C, H, W) to (B, `channels`).

    Args:
        backbone: the network.
        alone: how many channels it reads one by one, whose features are then put side by side; 0: all at once.
    """

    def __init__(self, backbone: Backbone, alone: int = 0) -> None:
        super().__init__()
        self.backbone, self.alone, self.channels = backbone, alone, backbone.channels * max(alone, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.alone:
            return self.backbone(x).mean((2, 3))
        return self.backbone(x.flatten(0, 1)[:, None]).mean((2, 3)).view(x.shape[0], self.channels)


class MLP(nn.Module):
    """Linear layers with an activation after each: (B, F) to (B, `channels`).

    Args:
        features: F.
        widths: of the layers.
        activation: "relu", "leaky_relu", "tanh" or "gelu".
    """

    def __init__(self, features: int, widths: Sequence[int] = (128, 128), activation: str = "leaky_relu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got '{activation}'.")
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be one or more numbers above 0; got {list(widths)}.")
        sizes = [features, *widths]
        self.layers = nn.Sequential(
            *(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), ACTIVATIONS[activation]()))
        )
        self.channels = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def create_encoder(spec: str | Mapping[str, Any], domain: Domain) -> nn.Module:
    """Builds the network from an input of `domain` to a vector; its attribute `channels` is the vector's length.

    Args:
        spec: for images, see `zoo.backbones.create_backbone`, and with `each_channel: true` the backbone reads every
            channel alone, with the same weights; for rows of a table "mlp", with the options of `MLP`.
        domain: what the inputs are.

    Raises:
        ValueError: an encoder that does not read this modality, or an unknown name or option.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if isinstance(domain, ImageDomain):
        if options.pop("each_channel", False):
            return Pooled(create_backbone(options, 1), domain.channels)
        return Pooled(create_backbone(options, domain.channels))
    if isinstance(domain, TableDomain):
        if (name := options.pop("name", None)) != "mlp":
            raise ValueError(f"the backbone of a table is 'mlp'; got '{name}'.")
        return MLP(len(domain.features), **options)
    raise ValueError(f"no encoder reads the modality '{domain.modality}'.")
