"""Vision Transformers that can run on a subset of their tokens."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from zoo.domain import ImageDomain
from zoo.networks.base import StateEncoder
from zoo.networks.timm_networks import create_timm
from zoo.networks.weights import load_weights


class VisionTokens(StateEncoder):
    """A Vision Transformer of timm as an encoder: images (B, C, H, W) to (B, `channels`).

    Attributes:
        channels: length of the vector that timm's own pooling gives: the class token, or the mean over the patches.
        patch: side of a patch in pixels.
        grid: rows and columns of patches.
    """

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network: Any = network  # timm's annotations do not cover what is used here
        self.channels = int(network.num_features)
        self.patch: int = network.patch_embed.patch_size[0]
        self.grid: tuple[int, int] = network.patch_embed.grid_size

    def embed(self, x: Tensor) -> Tensor:
        """Embeds images as tokens with their positions (B, P + L, D).

        The P prefix tokens, such as the class token, come before the L patches.
        """
        return self.network._pos_embed(self.network.patch_embed(x))

    def encode(self, tokens: Tensor) -> Tensor:
        """Encodes any tokens (B, P + n, D) as vectors (B, `channels`)."""
        h = self.network.norm(self.network.blocks(self.network.norm_pre(tokens)))
        return self.network.forward_head(h, pre_logits=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(self.embed(x))

    def states(self, x: Tensor) -> Tensor:
        """Computes the states (B, L, D) of the patches before the last block, which Sum-of-Parts reads."""
        h = self.network.norm_pre(self.embed(x))
        for block in self.network.blocks[:-1]:
            h = block(h)
        return h[:, self.network.num_prefix_tokens :]

    def keep(self, tokens: Tensor, index: Tensor) -> Tensor:
        """Selects the prefix and the patches `index` (N, n) of tokens (N, P + L, D)."""
        prefix = self.network.num_prefix_tokens
        patches = tokens[:, prefix:].gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
        return torch.cat([tokens[:, :prefix], patches], 1)


def is_vit(spec: str | Mapping[str, Any]) -> bool:
    """Whether a specification names a plain Vision Transformer of timm."""
    name = spec if isinstance(spec, str) else spec.get("name", "")
    return timm.is_model(name) and timm.models.is_model_in_modules(name, ["vision_transformer", "deit"])


def create_vit(spec: str | Mapping[str, Any], domain: ImageDomain) -> VisionTokens:
    """Builds the encoder for images of `domain`.

    Args:
        spec: as `zoo.networks.image_backbones.create_backbone` takes it.
        domain: of the images.

    Raises:
        ValueError: the sides of the image are not multiples of the patch, or the weights do not fit.
        FileNotFoundError: no weights file.
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name, weights = options.pop("name"), options.pop("weights", None)
    network = create_timm(name, in_chans=domain.channels, num_classes=0, img_size=domain.size, **options)
    if weights:
        load_weights(network, weights)
    encoder = VisionTokens(network)
    if any(side % encoder.patch for side in domain.size):
        raise ValueError(
            f"{name} reads patches of {encoder.patch} pixels, and images of {domain.size[0]} x {domain.size[1]} are "
            "not a multiple of it; choose another size of the images or another patch_size."
        )
    return encoder
