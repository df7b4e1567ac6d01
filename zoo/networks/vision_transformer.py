"""Vision transformers of timm as encoders: their own final norm and pooling, and a state for each patch."""

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from zoo.domain import ImageDomain
from zoo.networks.base import Features, StateEncoder
from zoo.networks.timm_networks import create_timm
from zoo.networks.weights import load_weights
from zoo.utils.checks import check_choice
from zoo.utils.errors import short

POOLS = {"token": "token", "mean": "avg"}  # ours -> timm's


class ImageTransformer(StateEncoder):
    """A vision transformer: images (B, C, H, W) to (B, `channels`), the input of timm's own linear head.

    Args:
        domain: of the images.
        pool: "token": the normed state of the class token; "mean": the mean of the normed states of the patches.
        name: of a network of timm whose class is `VisionTransformer`, such as "vit_tiny_patch16_224".
        options: those of `timm.create_model`, such as `patch_size`, `embed_dim`, `depth`, `num_heads` and `pretrained`;
            and `weights`, a safetensors file. By default `img_size` is that of the images; with `pool` "mean" there is
            no class token (`class_token`), and states are normed before the mean (`fc_norm: true`, as in networks of
            timm whose name has "gap": after it).

    Attributes:
        grid: rows and columns of patches (h, w).
        patch: height and width of a patch in pixels.

    Raises:
        ValueError: an unknown pool, another network, options that timm refuses, or images that patches do not fill.
        TypeError: an unknown option.
    """

    def __init__(self, domain: ImageDomain, pool: str, name: str, **options: Any) -> None:
        super().__init__()
        check_choice(POOLS, pool=pool)
        weights = options.pop("weights", None)
        given: Mapping[str, Any] = {
            "img_size": domain.size,
            "fc_norm": False,
            **({"class_token": False} if pool == "mean" else {}),
            **options,
            "in_chans": domain.channels,
            "num_classes": 0,
            "global_pool": POOLS[pool],
        }
        try:
            self.network = create_timm(name, **given)
        except (AssertionError, LookupError, RuntimeError) as error:  # timm's own checks have no message
            raise ValueError(
                f"timm cannot build '{name}' with the options {short(str(options))}: {type(error).__name__} "
                f"{short(str(error))}. Correct or remove an option."
            ) from error
        if type(self.network) is not VisionTransformer:
            raise ValueError(
                f"the option pool needs a network of timm's class VisionTransformer, such as vit_tiny_patch16_224; "
                f"'{name}' is a {type(self.network).__name__}. Choose another name, or leave pool out."
            )
        self.channels: int = self.network.num_features
        self.grid: tuple[int, int] = self.network.patch_embed.grid_size
        self.patch: tuple[int, int] = self.network.patch_embed.patch_size
        if any(side % part for side, part in zip(domain.size, self.patch, strict=True)):
            raise ValueError(f"patches of {self.patch} pixels do not fill images of {domain.size}; change patch_size.")
        if weights:
            load_weights(self.network, weights)

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: class token and registers."""
        return self.network.num_prefix_tokens

    def states(self, x: Tensor) -> Tensor:
        """The states of the patches after the network's norm: images (B, C, H, W) to (B, h w, `channels`)."""
        return self.network.forward_features(x)[:, self.prefix :]

    def forward(self, x: Tensor) -> Tensor:
        return x.as_subclass(Tensor) if isinstance(x, Features) else self.network(x)
