"""Weights of networks: read from a safetensors file, or left out because a checkpoint is about to fill them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from torch import nn

from zoo.utils.errors import outside_checkpoint
from zoo.utils.hub import cached_file, require_hub


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fills a network from a safetensors file, which may hold more tensors (a classifier) but not fewer.

    Raises:
        FileNotFoundError: no such file, or an environment variable in the path is not set.
        ValueError: the file lacks weights that the network needs, or has them in other shapes.
    """
    file = Path(os.path.expandvars(Path(path).expanduser()))
    if not file.is_file():
        unset = "$" in str(file)
        raise FileNotFoundError(
            f"no backbone weights at {file}{'; set that environment variable' if unset else ''}. Give a "
            "safetensors file, or pretrained: true to download them."
        )
    found, needed = load_file(file), network.state_dict()
    lacking = [key for key in needed if key not in found and not key.endswith("num_batches_tracked")]
    wrong = [key for key in needed if key in found and found[key].shape != needed[key].shape]
    if lacking or wrong:
        raise ValueError(
            f"{file} does not fit this backbone: {len(lacking)} weights are missing (first: {lacking[:1]}), "
            f"{len(wrong)} have another shape (first: {wrong[:1]}). Check name and options of the backbone."
        )
    with torch.no_grad():
        for key in needed.keys() & found.keys():
            needed[key].copy_(found[key])


def pretrained_file(name: str) -> str | None:
    """The file in the local cache of the hub with the pretrained weights of a network of timm.

    Returns:
        None if it is not there, but timm can download it.

    Raises:
        FileNotFoundError: it is not there, and the hub cannot be reached; the message names the local ways.
    """
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None  # timm has no weights, or has them from another server
    found = cached_file(config.hf_hub_id, [config.hf_hub_filename or "model.safetensors"])
    if found is None:
        require_hub(
            f"backbone '{name}' has pretrained: true, but {config.hf_hub_id}",
            "Give the backbone a file, weights: FILE.safetensors, instead of pretrained, or copy that repository into "
            f"the hub cache of this machine, {constants.HF_HUB_CACHE}.",
        )
    return found


def without_weights(spec: Any, name: str = "backbone") -> Any:
    """Copies a network's specification without the weights that it names, so that building it reads no file.

    A specification is a mapping with a `name`, at any depth of `spec`: its options `weights` and `pretrained` are left
    out, and so is the `model` of a Hugging Face encoder, whose architecture then follows from its `config`. Everything
    else is kept.

    Args:
        spec: plain data, such as `{"name": "resnet18", "pretrained": True}`.
        name: what the argument is called, for error messages.

    Raises:
        ValueError: a Hugging Face encoder without `config`, which only its files describe.
    """
    if isinstance(spec, list):
        return [without_weights(entry, name) for entry in spec]
    if not isinstance(spec, Mapping):
        return spec
    left_out: tuple[str, ...] = ()
    if "name" in spec:
        left_out = ("weights", "pretrained")
        if spec["name"] == "hf":
            left_out = (*left_out, "model")
            if spec.get("config") is None and spec.get("model") is not None:
                raise outside_checkpoint(f"{name}.model", spec["model"])
    return {key: without_weights(value, f"{name}.{key}") for key, value in spec.items() if key not in left_out}
