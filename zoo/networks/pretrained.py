"""Where the pretrained weights of a named network come from.

For `pretrained: true`, the first of these is used: a backbone that comes with this package, an installed package of
weights (`zoo.utils.weight_packages`), the local cache of the Hugging Face hub, the hub. The hash of the tensors of the
first two is known, and other tensors are refused.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.networks.weights import shared_tensors
from zoo.utils.errors import short
from zoo.utils.hub import cached_file, require_hub
from zoo.utils.package_files import shipped_backbones
from zoo.utils.tensor_hash import fingerprint
from zoo.utils.weight_packages import WeightPackage, installed_file, package_of, remedy


def pretrained_overlay(name: str) -> dict[str, Any]:
    """The entries of timm's `pretrained_cfg_overlay` that name the pretrained weights of a network.

    Args:
        name: of a network of timm, with or without a tag.

    Returns:
        {} if timm is to download them.

    Raises:
        ValueError: an installed package of weights, or a backbone that comes with this package, was changed.
        FileNotFoundError: they are nowhere on this machine, and the hub cannot be reached; the message names the ways.
    """
    package = package_of(name)
    if package is not None and (tensors := local_tensors(package)) is not None:
        return {"state_dict": tensors, "custom_load": False}
    file = pretrained_file(name)
    return {"file": file, "custom_load": False} if file else {}


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
        advice = (
            "Give the backbone a file, weights: FILE.safetensors, instead of pretrained, or copy that repository into "
            f"the hub cache of this machine, {constants.HF_HUB_CACHE}."
        )
        require_hub(f"backbone '{name}' has pretrained: true, but {config.hf_hub_id}", remedy(name, advice))
    return found


def local_tensors(package: WeightPackage) -> dict[str, Tensor] | None:
    """The tensors of an image network under the names that they have in timm; None if they are not on this machine.

    Raises:
        ValueError: they were changed.
    """
    if shipped := shipped_backbones().get(f"{package.network}-{package.shared[:12]}.safetensors"):
        return shared_tensors(shipped)
    file = installed_file(package)
    if file is None:
        return None
    tensors = package_tensors(package, file)
    with torch.device("meta"):
        names = list(timm.create_model(package.network).state_dict())
    return dict(zip(names, tensors.values(), strict=True))


def text_tensors(package: WeightPackage) -> dict[str, Tensor] | None:
    """The tensors of a text encoder, from its package or the local cache of the hub; None if neither has them.

    Raises:
        ValueError: they were changed.
    """
    file = installed_file(package) or cached_file(package.hub, ["model.safetensors"])
    return None if file is None else package_tensors(package, Path(file))


def package_tensors(package: WeightPackage, file: Path) -> dict[str, Tensor]:
    """The tensors of the file of a package of weights, under the names that they have there.

    Raises:
        ValueError: they are not those that this version knows.
    """
    try:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)  # which runs no code of the file
        digest = fingerprint(tensors)
    except (UnpicklingError, SafetensorError, RuntimeError, EOFError, AttributeError, TypeError) as error:
        raise _unknown(package, file, f"it is not readable ({short(str(error), 100)})") from error
    if digest != package.sha256:
        raise _unknown(
            package, file, f"its tensors have the SHA-256 {digest[:12]}..., expected {package.sha256[:12]}..."
        )
    return tensors


def _unknown(package: WeightPackage, file: Path, why: str) -> ValueError:
    return ValueError(
        f"{file} does not hold the known weights of {package.network}: {why}. Install the known version, "
        f"{package.install} --force-reinstall, or give a file of your own."
    )
