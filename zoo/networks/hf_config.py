"""Configs of text encoders of Hugging Face, and their weights: what is read, and what is refused."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from torch import nn

from zoo.networks.hf_parts import cut_layers, keep_rows
from zoo.networks.pretrained import text_tensors
from zoo.utils.errors import did_you_mean, short
from zoo.utils.hub import require_model
from zoo.utils.weight_packages import package_of, remedy, text_model

ENCODERS = (  # what `model_type` may be: networks of `transformers` for texts, which load nothing else
    *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gpt2", "modernbert", "mpnet"),
    *("roberta", "xlm-roberta"),
)
REFUSED = (  # entries of a config by which transformers reads files, downloads, or runs code
    *("architecture", "auto_map", "kernel_config", "model_args", "pretrained", "quantization_config"),
    *("trust_remote_code", "use_kernels"),
)
LARGEST = 2**20  # of the numbers in a config, some of which are lengths of lists
PROVENANCE = ("_name_or_path", "auto_map", "transformers_version")  # config entries that do not describe the network


def read_config(model: str) -> Any:
    """The config of a model, see `HuggingFaceText`.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: see `make_config`.
    """
    library = import_module("transformers")
    path = text_model(model)
    advice = remedy(model, "Give a folder with config.json and model.safetensors.")
    require_model(path, ["config.json"], f"text encoder '{model}'", advice)
    try:
        found, _ = library.PretrainedConfig.get_config_dict(path)
    except (OSError, ValueError) as error:
        raise _not_found(model, error) from error
    return make_config({key: value for key, value in found.items() if key not in PROVENANCE}, f"config of '{model}'")


def make_config(config: Mapping[str, Any], what: str = "config") -> Any:
    """The config of one of `ENCODERS`.

    Raises:
        ValueError: another network, or entries that are refused or invalid.
    """
    options = dict(config)
    kind = options.pop("model_type", None)
    if kind not in ENCODERS:
        raise ValueError(
            f"{what} must have the model_type of a text encoder; got {kind!r:.40}; {did_you_mean(kind, ENCODERS)}"
        )
    if refused := next(_refused(options), None):
        raise ValueError(
            f"{what} has {refused}, by which transformers could read files, download, run code or fill the memory; "
            "leave it out."
        )
    try:
        found = import_module("transformers").AutoConfig.for_model(kind, **options)
    except ImportError:
        raise
    except Exception as error:  # the library's checks of types have their own classes
        raise ValueError(f"{what} is not valid ({type(error).__name__}: {short(str(error))}).") from error
    if found.is_encoder_decoder:
        raise ValueError(f"{what} has an encoder and a decoder; choose an encoder, such as BERT.")
    return found


def _refused(value: Any, key: str = "") -> Iterator[str]:
    """The entries of a config, at any depth, that `transformers` must not see.

    These are the ones in `REFUSED`, backbones, numbers above `LARGEST`, and implementations with a slash, which are
    kernels on the hub.
    """
    if key in REFUSED or "backbone" in key or (key.endswith("implementation") and "/" in str(value)):
        if value:
            yield f"{key}: {short(str(value), 60)}"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _refused(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _refused(inner)
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{key}: {short(str(value), 60)}"


def build_network(model: str | None, config: Any, rows: Sequence[int] | None = None) -> nn.Module:
    """The network of a config, with the weights of a model or with random ones.

    Args:
        model: may have more layers, of which the first are used, and more pieces.
        config: of the network.
        rows: of the model's embedding, for each piece of the network; None: all.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the model is one of `zoo.utils.weight_packages`, and its weights are others.
    """
    library = import_module("transformers").AutoModel
    config.use_cache = False  # of decoders, for texts that are written token by token
    if model is None:
        network = library.from_config(config, trust_remote_code=False)
    else:
        whole, own = deepcopy(config), read_config(model)
        whole.num_hidden_layers = own.num_hidden_layers
        if hasattr(own, "layer_types"):
            whole.layer_types = own.layer_types
        if rows is not None:
            whole.vocab_size = own.vocab_size
        try:
            network = library.from_pretrained(
                text_model(model), config=whole, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
            )
        except OSError as error:
            raise _not_found(model, error) from error
        cut_layers(network, config)
        if rows is not None:
            keep_rows(network, rows)
        if package := package_of(model):
            text_tensors(package)  # refuses other weights than the known ones
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # reads the first position only; this encoder does not use it
    return network.train()


def _not_found(model: str, error: Exception) -> FileNotFoundError:
    return FileNotFoundError(
        f"no text encoder '{model}': give a folder with config.json and model.safetensors, or the name of a model on "
        f"the Hugging Face hub that can be reached ({str(error).splitlines()[0]})."
    )
