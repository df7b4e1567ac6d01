"""Which transformers are sums of heads and MLPs that `zoo.networks.residual_stream` can read."""

from typing import Any

from timm.layers.attention import Attention
from timm.models._features import FeatureGetterNet
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import Pooled
from zoo.networks.post_norm import LAYOUT
from zoo.networks.text_encoders import TextTransformer
from zoo.networks.trunks import Trunk
from zoo.networks.vision_transformer import ImageTransformer


def timm_network(encoder: nn.Module) -> Any:
    """The network of timm inside an encoder of images, if that is all of it; of other encoders, these themselves."""
    if isinstance(encoder, ImageTransformer):
        return encoder.network
    if isinstance(encoder, Pooled) and not encoder.separate and not encoder.backbone.steadied.options.active:
        network = encoder.backbone.network
        if isinstance(network, FeatureGetterNet):
            return network.model
        return network.network if isinstance(network, Trunk) else network
    return encoder


def pools_itself(encoder: nn.Module) -> bool:
    """Whether the network of timm gives its own pooled state; else the mean of its patches before the norm is taken."""
    trunk = isinstance(encoder, Pooled) and isinstance(encoder.backbone.network, Trunk)
    return trunk or isinstance(encoder, ImageTransformer)


def check_transformer(encoder: nn.Module, name: str) -> None:
    """Refuses encoders whose pooled states are not a norm of a sum of heads and MLPs.

    Args:
        encoder: of `zoo.networks.encoders.create_encoder`.
        name: of what needs it, for the message.

    Raises:
        ValueError: what it is, and what is expected.
    """
    if isinstance(encoder, TextTransformer):
        return
    if isinstance(encoder, HuggingFaceText):
        kind, relative = (
            encoder.network.config.model_type,
            getattr(encoder.network.config, "position_embedding_type", ""),
        )
        if kind not in LAYOUT or encoder.pooling == "padded" or "relative" in str(relative):
            raise ValueError(
                f"{name} reads the last layer of encoders built like BERT ({', '.join(LAYOUT)}) with pooling 'masked' "
                f"or 'first'; got a {kind} with pooling '{encoder.pooling}'."
            )
        return
    network: Any = timm_network(encoder)
    if type(network) is not VisionTransformer:
        raise ValueError(
            f"{name} reads the residual stream of a transformer with norms before its layers: a vision transformer of "
            "timm's class VisionTransformer (backbone: {name: vit_tiny_patch16_224, pool: token, ...}), or a text "
            f"encoder, 'transformer' or 'hf'; got {type(network).__name__}."
        )
    found = {type(block).__name__ for block in network.blocks if type(block) is not Block}
    found |= {type(b.attn).__name__ for b in network.blocks if type(b) is Block and type(b.attn) is not Attention}
    if found:
        raise ValueError(f"{name} reads timm's plain Block and Attention; this network has {', '.join(sorted(found))}.")
    for block in network.blocks:
        attention: Any = block.attn
        if attention.gate is not None or not isinstance(attention.norm, nn.Identity):
            raise ValueError(f"{name} needs attention that is linear in its values; scale_attn_norm and gates are not.")
    norms = [norm for norm in (network.norm, network.fc_norm) if not isinstance(norm, nn.Identity)]
    if len(norms) > 1 or not all(isinstance(norm, nn.LayerNorm) for norm in norms):
        kinds = ", ".join(type(norm).__name__ for norm in norms)
        raise ValueError(f"{name} needs at most one final norm, a LayerNorm; this network has {kinds}.")
