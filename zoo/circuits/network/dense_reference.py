"""A dense network to be explained by a sparse one: a trained transformer of this family, from where it is stored."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.utils import sparse_tensors
from zoo.circuits.network.transformer import SparseNetwork
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain import Domain
from zoo.utils.errors import did_you_mean

CONFIG, WEIGHTS, PREFIX = "config.yaml", "model.safetensors", "network."
OF_TRAINING = ("domain", "recipe", "stages", "lr", "weight_decay")  # arguments that a network does not hang on


def read_twin(dense: str | Mapping[str, Any], domain: Domain) -> tuple[SparseNetwork, dict[str, Any]]:
    """A trained network, and the arguments of the `SparseTransformer` that it belongs to.

    Args:
        dense: folder of a checkpoint, or arguments and `weights`: such a folder, a safetensors file, or None for random
            weights, which a checkpoint then fills.
        domain: what the network must read.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no weights; no checkpoint of a sparse_transformer; other tokens; arguments or weights that do not
            fit.
    """
    given: dict[str, Any] = {"weights": dense} if isinstance(dense, str) else dict(dense)
    told = "weights" in given
    weights = given.pop("weights", None)
    if isinstance(dense, str):
        given = _stored(Path(dense), domain)
    elif not told:
        raise ValueError(
            "the dense model has arguments but no weights; add 'weights' (the folder of a checkpoint, or a safetensors "
            "file), or give the folder in place of the arguments."
        )
    network = SparseTransformer(domain, **arguments(given, "dense")).network
    if weights is not None:
        path = Path(weights)
        if path.is_dir():
            _stored(path, domain)
            path = path / WEIGHTS
        fill(network, path)
    return network, given


def arguments(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Those arguments of a `SparseTransformer` that describe its network.

    Raises:
        ValueError: an unknown one.
    """
    known = [name for name in inspect.signature(SparseTransformer).parameters if name not in OF_TRAINING]
    for name in given:
        if name not in known:
            raise ValueError(f"'{what}' has no key '{name}'; {did_you_mean(name, known)}")
    return dict(given)


def fill(network: SparseNetwork, path: Path) -> None:
    """Fills a network from a safetensors file, which may hold more but not less.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or lacks tensors, or has them in other shapes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights of a dense model at {path}.")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no intact safetensors file ({error}).") from error
    shapes = {PREFIX + name: tensor.shape for name, tensor in network.state_dict().items()}
    found = sparse_tensors.unpack(found, shapes, path)
    state: dict[str, Tensor] = {}
    for name, wanted in network.state_dict().items():
        tensor = found.get(PREFIX + name)
        if tensor is None or tensor.shape != wanted.shape:
            got = "nothing" if tensor is None else tuple(tensor.shape)
            raise ValueError(
                f"{path} does not fit the dense model: '{PREFIX}{name}' should be {tuple(wanted.shape)}; got {got}. "
                "Give the arguments that it was trained with."
            )
        state[name] = tensor.to(wanted.dtype)
    with torch.no_grad():
        network.load_state_dict(state)


def _stored(folder: Path, domain: Domain) -> dict[str, Any]:
    """The arguments of the network in a checkpoint."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"no checkpoint of a dense model at {folder}; train one first, such as configs/circuits/"
            "dense_idioms_cpu.yaml."
        )
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is no plain YAML ({error}).") from error
    name = config.get("model") if isinstance(config, dict) else None
    if name != "sparse_transformer" or not isinstance(config.get("arguments"), dict):
        raise ValueError(f"{folder} holds {name!r}; a dense model is a sparse_transformer, trained at density 1.")
    stored = config["arguments"]
    theirs = Domain.from_dict(stored["domain"])
    if theirs.classes != domain.classes or theirs.shape != domain.shape:
        raise ValueError(
            f"the dense model at {folder} reads {len(theirs.classes)} tokens in prompts of {theirs.shape[0]}, this one "
            f"{len(domain.classes)} in prompts of {domain.shape[0]}, or they differ in what the tokens stand for; "
            "train both on the same data settings."
        )
    return {name: value for name, value in stored.items() if name not in OF_TRAINING}
