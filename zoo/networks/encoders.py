"""Encoders: networks from any input of a domain to one vector, for the models that need no map."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import Domain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.domain.text import PAD
from zoo.networks.encoder import Encoder
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import Backbone, create_backbone

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class Pooled(Encoder):
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


class MLP(Encoder):
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


class Identity(Encoder):
    """Rows of a table as they are, such as features of a frozen network: (B, F) to (B, `channels` = F)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = features

    def forward(self, x: Tensor) -> Tensor:
        return x


class SeriesConvNet(Encoder):
    """Convolutions over time with batch norm, pooled by the mean: series (B, T, V) to (B, `channels`).

    The fully convolutional network of Wang, Yan, Oates: "Time Series Classification from Scratch with Deep Neural
    Networks", IJCNN 2017, whose published widths and kernels are the defaults.

    Args:
        variables: V.
        widths: channels of each convolution.
        kernels: their lengths in steps.
    """

    def __init__(
        self, variables: int, widths: Sequence[int] = (128, 256, 128), kernels: Sequence[int] = (8, 5, 3)
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels) or not widths or min(*widths, *kernels) < 1:
            raise ValueError(
                f"widths and kernels must be as many numbers above 0; got {list(widths)} and {list(kernels)}."
            )
        sizes = [variables, *widths]
        self.layers = nn.Sequential(
            *(
                layer
                for (a, b), kernel in zip(pairwise(sizes), kernels, strict=True)
                for layer in (
                    nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0),
                    nn.Conv1d(a, b, kernel, bias=False),
                    nn.BatchNorm1d(b),
                    nn.ReLU(),
                )
            )
        )
        self.channels = sizes[-1]

    def states(self, x: Tensor) -> Tensor:
        """One vector for each step (B, T, `channels`)."""
        return self.layers(x.mT).mT

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x).mean(1)


class TextTransformer(Encoder):
    """A small Transformer over words, pooled by the mean: token numbers (B, T) to (B, `channels`).

    Args:
        domain: of the texts.
        width: of the embeddings, `channels`.
        layers: of the Transformer.
        heads: of its attention.
        dropout: in training, in [0, 1).
        pooling: "masked": the mean over the words, and padding changes nothing; "padded": over all T positions,
            padding included, as in the code of Tan et al. (PAKDD 2024).
    """

    def __init__(
        self,
        domain: TextDomain,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pooling: str = "masked",
    ) -> None:
        super().__init__()
        if pooling not in ("masked", "padded"):
            raise ValueError(f"pooling must be 'masked' or 'padded'; got '{pooling}'.")
        if width < 1 or layers < 1 or heads < 1 or width % heads or not 0 <= dropout < 1:
            raise ValueError(
                "expected layers >= 1, a width that is a multiple of heads, and dropout in [0, 1); got "
                f"{layers}, {width} and {heads}, {dropout}."
            )
        self.channels, self.pooling = width, pooling
        self.embedding = nn.Embedding(domain.size, width, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(domain.length, width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TextBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def states(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """One vector for each word (B, T, `channels`); `place` (B, T) where it stands, if words were left out."""
        words = x != PAD  # (B, T)
        h = self.drop(self.embedding(x) + (self.position if place is None else self.position[place]))
        for block in self.blocks:
            h = block(h, words)
        return self.norm(h)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        h, words = self.states(x, place), x != PAD
        if self.pooling == "padded":
            return h.mean(1)
        return (h * words[..., None]).sum(1) / words.sum(1, keepdim=True).clamp_min(1)


class TextBlock(nn.Module):
    """Attention to the words, then a feed-forward layer, both on normalised inputs: (B, T, D) to (B, T, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, words: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norms[0](h)).chunk(3, 2))
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, words[:, None, None], dropout)
        h = h + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return h + self.drop(self.feed(self.norms[1](h)))


def create_encoder(spec: str | Mapping[str, Any], domain: Domain) -> Encoder:
    """Builds the network from an input of `domain` to a vector; its attribute `channels` is the vector's length.

    Args:
        spec: for images, see `zoo.networks.image_backbones.create_backbone`, and with `each_channel: true` the backbone reads every
            channel alone, with the same weights; for rows of a table "mlp", with the options of `MLP`, or "identity";
            for series "convnet1d", with the options of `SeriesConvNet`; for texts "transformer", with those of
            `TextTransformer`, or "hf", a pretrained encoder, with those of `zoo.networks.hf_text_encoder.HuggingFaceText`.
        domain: what the inputs are.

    Raises:
        ValueError: an encoder that does not read this modality, or an unknown name or option.
        ImportError, FileNotFoundError: "hf" without the extra `text`, or without its files.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if isinstance(domain, ImageDomain):
        if options.pop("each_channel", False):
            return Pooled(create_backbone(options, 1), domain.channels)
        return Pooled(create_backbone(options, domain.channels))
    if isinstance(domain, TableDomain):
        name = options.pop("name", None)
        if name == "identity":
            return Identity(len(domain.features), **options)
        if name != "mlp":
            raise ValueError(f"the backbone of a table is 'mlp' or 'identity'; got '{name}'.")
        return MLP(len(domain.features), **options)
    if isinstance(domain, SeriesDomain):
        if (name := options.pop("name", None)) != "convnet1d":
            raise ValueError(f"the backbone of a series is 'convnet1d'; got '{name}'.")
        return SeriesConvNet(len(domain.variables), **options)
    if isinstance(domain, TextDomain):
        kinds = {"transformer": TextTransformer, "hf": HuggingFaceText}
        if (name := options.pop("name", None)) not in kinds:
            raise ValueError(f"the backbone of a text is 'transformer' or 'hf'; got '{name}'.")
        return kinds[name](domain, **options)
    raise ValueError(f"no encoder reads the modality '{domain.modality}'.")
