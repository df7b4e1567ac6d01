"""Builds the encoder of a domain from its specification: a name, or a mapping of a name and options."""

from collections.abc import Mapping
from typing import Any

import timm

from zoo.domain import AudioDomain, Domain, GraphDomain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.networks.audio_encoder import AudioConvNet
from zoo.networks.base import Encoder
from zoo.networks.classifiers import is_classifier
from zoo.networks.gin import GIN
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import Pooled, create_backbone
from zoo.networks.patch_transformer import PatchEncoder, PatchTransformer
from zoo.networks.series_encoder import SeriesConvNet
from zoo.networks.table_encoders import MLP, Identity
from zoo.networks.text_convnet import TextConvNet
from zoo.networks.text_encoders import TextTransformer
from zoo.networks.trunks import TrunkEncoder, create_trunk
from zoo.networks.vision_transformer import ImageTransformer
from zoo.utils.signatures import check_options


def create_encoder(spec: str | Mapping[str, Any], domain: Domain) -> Encoder:
    """Builds a network from inputs of `domain` to vectors.

    | domain | names | options |
    |---|---|---|
    | images | see `zoo.networks.image_backbones.create_backbone` | its options, and `each_channel` |
    | images | a vision transformer of timm | `pool`, see `zoo.networks.vision_transformer.ImageTransformer` |
    | tables | "mlp" | those of `zoo.networks.table_encoders.MLP` |
    | tables | "identity" | none |
    | series | "convnet1d" | those of `zoo.networks.series_encoder.SeriesConvNet` |
    | series | "patch_transformer" | those of `zoo.networks.patch_transformer.PatchTransformer` |
    | graphs | "gin" | those of `zoo.networks.gin.GIN` |
    | audio | "audio_convnet" | those of `zoo.networks.audio_encoder.AudioConvNet` |
    | texts | "convnet1d" | those of `zoo.networks.text_convnet.TextConvNet` |
    | texts | "transformer" | those of `zoo.networks.text_encoders.TextTransformer` |
    | all | a classifier without its head | those of `zoo.networks.trunks.create_trunk` |
    | texts | "hf", a pretrained encoder | those of `zoo.networks.hf_text_encoder.HuggingFaceText` |

    Args:
        spec: a name, or a mapping of `name` and options. With `each_channel: true` an image backbone reads every
            channel separately, with shared weights; with `pool` a vision transformer has its own final norm and
            pooling, in place of the mean over the map of its states before the norm.
        domain: what the inputs are.

    Raises:
        ValueError: the encoder does not read this modality, or the name is unknown.
        TypeError: an unknown option.
        FileNotFoundError: no file of weights, or no model of that name for "hf".
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    if isinstance(domain, ImageDomain):
        if "pool" in options and timm.is_model(str(options.get("name"))):  # other networks have a pool of their own
            return ImageTransformer(domain, **options)
        if options.pop("each_channel", False):
            return Pooled(create_backbone(options, 1), domain.channels)
        return Pooled(create_backbone(options, domain.channels))
    name = options.pop("name", None)
    if isinstance(name, str) and is_classifier(name):
        return TrunkEncoder(create_trunk(name, options))
    if isinstance(domain, TableDomain):
        if name not in ("identity", "mlp"):
            raise ValueError(f"the backbone of a table is 'mlp' or 'identity'; got '{name}'.")
        made = Identity if name == "identity" else MLP
        check_options(made, options, f"backbone '{name}'")
        return made(len(domain.features), **options)
    if isinstance(domain, SeriesDomain):
        if name == "patch_transformer":
            check_options(PatchTransformer, options, f"backbone '{name}'")
            return PatchEncoder(*domain.shape, **options)
        if name != "convnet1d":
            raise ValueError(f"the backbone of a series is 'convnet1d' or 'patch_transformer'; got '{name}'.")
        check_options(SeriesConvNet, options, f"backbone '{name}'")
        return SeriesConvNet(len(domain.variables), **options)
    if isinstance(domain, GraphDomain):
        if name != "gin":
            raise ValueError(f"the backbone of a graph is 'gin'; got '{name}'.")
        check_options(GIN, options, f"backbone '{name}'")
        return GIN(domain, **options)
    if isinstance(domain, AudioDomain):
        if name != "audio_convnet":
            raise ValueError(f"the backbone of audio is 'audio_convnet'; got '{name}'.")
        check_options(AudioConvNet, options, f"backbone '{name}'")
        return AudioConvNet(domain.bands, **options)
    if isinstance(domain, TextDomain):
        texts: dict[Any, type[Encoder]] = {
            "convnet1d": TextConvNet,
            "hf": HuggingFaceText,
            "transformer": TextTransformer,
        }
        if name not in texts:
            raise ValueError(f"the backbone of a text is 'transformer', 'convnet1d' or 'hf'; got '{name}'.")
        made: Any = texts[name]
        check_options(made, options, f"backbone '{name}'")
        return made(domain, **options)
    raise ValueError(f"no encoder reads the modality '{domain.modality}'.")
