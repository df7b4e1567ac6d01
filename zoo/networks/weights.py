"""Weights of networks: read from a safetensors file, or left out because a checkpoint is about to fill them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.utils.errors import outside_checkpoint
from zoo.utils.package_files import shipped_backbones
from zoo.utils.tensor_hash import fingerprint

PREFIX = "network."  # of the names in a file of a `Backbone`
BLACK_BOX = "backbone.backbone.network."  # of the names of the backbone in a file of a black box of images


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fills a network from a safetensors file, which may hold more tensors (a classifier) but not fewer.

    The file may be a shared backbone of checkpoints, also in half precision.

    Args:
        network: to fill.
        path: of the file; `~` and environment variables are filled in. A file name alone is also searched for among
            the backbones that come with this package.

    Raises:
        FileNotFoundError: no such file, or an environment variable in the path is not set.
        ValueError: the file lacks weights that the network needs, has them in other shapes, or does not have the hash
            that its name gives.
    """
    file = find_weights(path)
    found, needed = shared_tensors(file), network.state_dict()
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


def find_weights(path: str | Path) -> Path:
    """The file of weights that a user means, see `load_weights`.

    Raises:
        FileNotFoundError: there is none.
    """
    file = Path(os.path.expandvars(Path(path).expanduser()))
    if file.is_file():
        return file
    shipped = shipped_backbones()
    if file.name in shipped and file == Path(file.name):
        return shipped[file.name]
    unset = "$" in str(file)
    raise FileNotFoundError(
        f"no backbone weights at {file}{'; set that environment variable' if unset else ''}. Give a safetensors file, "
        "or pretrained: true; `python train.py list weights` lists the weights at hand."
    )


def shared_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, under the names that they have in the network itself.

    Of a black box of images, those of its backbone. In a shared backbone of checkpoints, all names begin with
    "network."; its file name ends in the first digits of the hash of its tensors.

    Raises:
        ValueError: the file name gives another hash.
    """
    found = load_file(file)
    if of_black_box := {key.removeprefix(BLACK_BOX): t for key, t in found.items() if key.startswith(BLACK_BOX)}:
        return of_black_box
    if not all(key.startswith(PREFIX) for key in found):
        return found
    digits = file.stem.rpartition("-")[2]
    if re.fullmatch("[0-9a-f]{12}", digits) and not (digest := fingerprint(found)).startswith(digits):
        raise ValueError(
            f"{file} was changed: its tensors have the SHA-256 {digest[:12]}..., its name gives {digits}.... Get it "
            "again."
        )
    return {key.removeprefix(PREFIX): tensor for key, tensor in found.items()}


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
