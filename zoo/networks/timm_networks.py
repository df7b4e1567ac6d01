"""Networks of timm: feature maps, and what is refused."""

import re
import sys
from collections.abc import Mapping
from inspect import signature
from typing import Any

import timm
import torch
from torch import nn

from zoo.networks.pretrained import pretrained_overlay
from zoo.utils.signatures import refuse_unknown


def map_network(name: str, in_channels: int, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """A network of timm that gives a feature map, or a list of maps; and the channels of the last map.

    Args:
        name: of the network.
        in_channels: channels of the images.
        options: of `timm.create_model`.

    Raises:
        ValueError: the network has no maps with channels first.
        TypeError: an unknown option.
    """
    given = {"in_chans": in_channels, **options}
    try:
        network = create_timm(name, num_classes=0, global_pool="", **given)
    except AssertionError:  # some transformers cannot be built without pooling
        network = None
    if getattr(network, "output_fmt", "NCHW") == "NHWC":
        raise ValueError(f"backbone '{name}' gives maps with channels last (B, h, w, D); choose another backbone.")
    if network is not None and not hasattr(network, "num_prefix_tokens"):
        shape = map_shape(network, in_channels, options)
        if len(shape) == 4:
            return network, shape[1]
    # A transformer or the like: timm folds its tokens back into a map.
    given |= {"features_only": True, "out_indices": (-1,)}
    try:
        network = create_timm(name, **{"dynamic_img_size": True, **given})
    except TypeError:  # a network for images of one size
        network = create_timm(name, **given)
    return network, network.feature_info.channels()[-1]


@torch.no_grad()
def map_shape(network: Any, in_channels: int, options: Mapping[str, Any]) -> torch.Size:
    """Shape of the output of a network of timm, whose `num_features` may not be the channels of its map."""
    config = network.default_cfg
    size = options.get("img_size") or (config["input_size"][-2:] if config.get("fixed_input_size") else 96)
    height, width = (size, size) if isinstance(size, int) else size
    weight, training = next(network.parameters()), network.training
    shape = network.eval()(weight.new_zeros(1, in_channels, height, width)).shape
    network.train(training)
    return shape


def create_timm(name: str, **options: Any) -> Any:
    """Builds a network of timm, an `nn.Module` with timm's attributes such as `num_features`.

    Raises:
        ValueError: an option makes timm unpickle weights.
        TypeError: the network has no such option.
        FileNotFoundError: pretrained weights are neither on this machine nor can be downloaded.
    """
    if "checkpoint_path" in options:  # a pickle runs code, and a config may come from anybody
        raise ValueError(
            f"backbone '{name}' has the option checkpoint_path, by which timm unpickles a file; give 'weights', a "
            "safetensors file, instead."
        )
    if options.get("pretrained") and "pretrained_cfg_overlay" not in options:
        options["pretrained_cfg_overlay"] = pretrained_overlay(name)
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        # timm hands options on to the class of the network, whose name Python's message begins with.
        found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
        cls = found and getattr(sys.modules[timm.model_entrypoint(name).__module__], found[1], None)
        if not found or cls is None:
            raise
        known = [*signature(cls).parameters, *signature(timm.create_model).parameters, "weights", "tune"]
        refuse_unknown([found[2]], known, f"backbone '{name}'")
        raise
