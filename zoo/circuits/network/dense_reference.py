"""The dense network that a bridged transformer explains: where it is stored, and its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.circuits.network.transformer import SparseNetwork
from zoo.domain import Domain
from zoo.utils import sparse_tensors
from zoo.utils.yaml_files import read_yaml

CONFIG, WEIGHTS, PREFIX = "config.yaml", "model.safetensors", "network."
OF_TRAINING = ("domain", "recipe", "stages", "lr", "weight_decay", "optimizer", "coefficients")
"""Arguments of a stored model that do not change its network."""


class DenseReference(NamedTuple):
    """A dense network that is not built yet.

    Attributes:
        arguments: constructor arguments of its `SparseTransformer`, without domain and recipe.
        weights: safetensors file; None for random weights.
    """

    arguments: dict[str, Any]
    weights: Path | None


def find_reference(dense: str | Mapping[str, Any], domain: Domain) -> DenseReference:
    """Finds a dense network.

    Args:
        dense: checkpoint folder of a sparse_transformer; or its arguments and `weights`: such a folder, a safetensors
            file, or None for random weights.
        domain: the domain that the network must have.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: the folder holds another model, or one of another domain.
    """
    if isinstance(dense, str):
        return DenseReference(stored_arguments(Path(dense), domain), Path(dense) / WEIGHTS)
    arguments = dict(dense)
    weights = arguments.pop("weights", None)
    if weights is None:
        return DenseReference(arguments, None)
    path = Path(weights)
    if path.is_dir():
        stored_arguments(path, domain)  # checks the domain
        path = path / WEIGHTS
    return DenseReference(arguments, path)


def stored_arguments(folder: Path, domain: Domain) -> dict[str, Any]:
    """Reads the arguments of the network in a checkpoint of a sparse_transformer, see `find_reference`."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"no checkpoint of a dense model at {folder}; train one first, such as configs/circuits/"
            "dense_idioms_cpu.yaml."
        )
    config = read_yaml(folder / CONFIG)
    name = config.get("model") if isinstance(config, dict) else None
    if name != "sparse_transformer" or not isinstance(config.get("arguments"), dict):
        raise ValueError(f"{folder} contains {name!r}; the dense model must be a sparse_transformer of density 1.")
    arguments = config["arguments"]
    stored = Domain.from_dict(arguments["domain"])
    if stored.classes != domain.classes or stored.shape != domain.shape:
        raise ValueError(
            f"the dense model at {folder} has {len(stored.classes)} tokens and prompts of {stored.shape[0]}, this one "
            f"has {len(domain.classes)} tokens and prompts of {domain.shape[0]}, or their tokens differ; train both "
            "with the same data settings."
        )
    return {name: value for name, value in arguments.items() if name not in OF_TRAINING}


def load_network(network: SparseNetwork, path: Path) -> None:
    """Loads the weights of a network from a safetensors file, which may contain further tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or lacks tensors, or has them in other shapes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights of a dense model at {path}.")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid safetensors file ({error}).") from error
    shapes = {PREFIX + name: tensor.shape for name, tensor in network.state_dict().items()}
    found = sparse_tensors.unpack(found, shapes, path)
    state: dict[str, Tensor] = {}
    for name, wanted in network.state_dict().items():
        tensor = found.get(PREFIX + name)
        if tensor is None or tensor.shape != wanted.shape:
            got = "nothing" if tensor is None else tuple(tensor.shape)
            raise ValueError(
                f"{path} does not match the dense model: expected '{PREFIX}{name}' of shape {tuple(wanted.shape)}; got "
                f"{got}. Give the arguments that the dense model was trained with."
            )
        state[name] = tensor.to(wanted.dtype)
    with torch.no_grad():
        network.load_state_dict(state)
