"""Pretrained text encoders of Hugging Face, for texts cut by their own tokenizer."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import TextDomain
from zoo.domain.text import FIRST, PAD, UNKNOWN
from zoo.networks.base import StateEncoder
from zoo.networks.text_encoders import check_pooling, masked_mean
from zoo.utils.errors import did_you_mean, short
from zoo.utils.hub import require_model
from zoo.utils.optional import need

ENCODERS = (  # what `model_type` may be: networks of `transformers` for texts, which load nothing else
    *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gpt2", "modernbert", "mpnet"),
    *("roberta", "xlm-roberta"),
)
SHIFTED = ("camembert", "mpnet", "roberta", "xlm-roberta")  # their positions count from the number of padding + 1
REFUSED = (  # entries of a config by which transformers reads files, downloads, or runs code
    *("architecture", "auto_map", "kernel_config", "model_args", "pretrained", "quantization_config"),
    *("trust_remote_code", "use_kernels"),
)
LARGEST = 2**20  # of the numbers in a config, some of which are lengths of lists
PROVENANCE = ("_name_or_path", "auto_map", "transformers_version")  # config entries that do not describe the network


class HuggingFaceText(StateEncoder):
    """A text encoder of the library `transformers`, pooled by the mean: token numbers (B, T) to (B, `channels`).

    The special tokens of the tokenizer, such as [CLS] and [SEP] of BERT, are added around each text here, so the
    network reads a few more than T positions.

    A checkpoint does not need the hub: it keeps `spec`, which has the network's config as plain data.

    Args:
        domain: of the texts, with the network's own tokenizer.
        model: name of a model on the Hugging Face hub, or a folder written by `save_pretrained`, with safetensors.
        config: the network's architecture as in its config.json. Without `model`, the weights start at random.
        pooling: "masked": the mean over the text's tokens; "padded": the mean over all positions, special tokens and
            padding included, as in the code of Tan et al. (PAKDD 2024).

    Attributes:
        spec: the arguments as plain data, with the config of the network.

    Raises:
        ImportError: the extra `text` is not installed.
        FileNotFoundError: no such model.
        ValueError: a domain without a tokenizer, a tokenizer or a length too large for the network, another network
            than one of `ENCODERS`, or an unknown pooling.
    """

    before: Tensor  # numbers of the special tokens before a text
    after: Tensor  # and behind it

    def __init__(
        self,
        domain: TextDomain,
        model: str | None = None,
        config: Mapping[str, Any] | None = None,
        pooling: str = "masked",
    ) -> None:
        super().__init__()
        check_pooling(pooling)
        if not domain.tokenizer:
            raise ValueError(
                "the backbone 'hf' reads texts cut by its own tokenizer, and this domain has a vocabulary of words; "
                f"give the data tokenizer: {model or 'NAME'}."
            )
        if config is not None:
            found = _make_config(config)
        elif model is not None:
            found = _read_config(model)
        else:
            raise ValueError("the backbone 'hf' needs a model, such as bert-base-uncased or a folder; got none.")
        tokens, subwords = found.vocab_size, domain.subwords
        if len(subwords.pieces) > tokens:
            raise ValueError(
                f"the tokenizer has {len(subwords.pieces)} pieces, the network knows {tokens}; give the data the "
                f"tokenizer of the network itself, tokenizer: {model or 'NAME'}."
            )
        self.pooling = pooling
        self.padding = found.pad_token_id or 0
        self.unknown = self.padding if subwords.unknown is None else subwords.unknown
        self.register_buffer("before", torch.tensor(subwords.before, dtype=torch.long), persistent=False)
        self.register_buffer("after", torch.tensor(subwords.after, dtype=torch.long), persistent=False)
        kept = json.loads(found.to_json_string(use_diff=True))
        self.spec: dict[str, Any] = {
            "name": "hf",
            **({"model": model} if model else {}),
            "config": {key: value for key, value in kept.items() if key not in PROVENANCE},
            "pooling": pooling,
        }
        self._check_length(found, domain.length)
        self.network: Any = _build(model, found)
        self.channels: int = found.hidden_size

    def states(self, x: Tensor) -> Tensor:
        """Encodes each token: token numbers (B, T) to (B, T, `channels`)."""
        return self._hidden(x)[:, len(self.before) : len(self.before) + x.shape[1]]

    def forward(self, x: Tensor) -> Tensor:
        h, words = self._hidden(x), x != PAD
        if self.pooling == "padded":
            return h.mean(1)
        h = h[:, len(self.before) : len(self.before) + x.shape[1]]
        return masked_mean(h, words)

    def _hidden(self, x: Tensor) -> Tensor:
        """States of the network's last layer (B, before + T + after, `channels`)."""
        if x.is_meta:  # the library's attention masks read values
            return x.new_empty(
                len(x), len(self.before) + x.shape[1] + len(self.after), self.channels, dtype=torch.float
            )
        rows, words = x.shape[0], x != PAD
        own = torch.where(words, x - FIRST, self.padding).masked_fill(x == UNKNOWN, self.unknown)
        place = torch.arange(1, x.shape[1] + 1, device=x.device)
        end = len(self.before) + (words * place).amax(1, keepdim=True)  # (B, 1) the position after the text
        behind = end + torch.arange(len(self.after), device=x.device)
        room = x.new_full((rows, len(self.after)), self.padding)
        ids = torch.cat([self.before.expand(rows, -1), own, room], 1).scatter(1, behind, self.after.expand(rows, -1))
        there = torch.cat([torch.ones_like(ids[:, : len(self.before)]), words.long(), torch.zeros_like(room)], 1)
        there = there.scatter(1, behind, torch.ones_like(behind))
        return self.network(input_ids=ids, attention_mask=there).last_hidden_state

    def _check_length(self, config: Any, length: int) -> None:
        """Refuses texts that are longer than the network has positions for.

        Raises:
            ValueError: gives both numbers.
        """
        shift = self.padding + 1 if config.model_type in SHIFTED else 0
        positions = config.max_position_embeddings - shift
        if len(self.before) + length + len(self.after) > positions:
            raise ValueError(
                f"{config.model_type} cannot read texts of {length} tokens and {len(self.before)} + {len(self.after)} "
                f"special ones (it has {positions} positions). Give the data a smaller length."
            )


def _read_config(model: str) -> Any:
    library = need("transformers", "text")
    require_model(
        _path(model),
        ["config.json"],
        f"text encoder '{model}'",
        "Give a folder with config.json and model.safetensors.",
    )
    try:
        found, _ = library.PretrainedConfig.get_config_dict(_path(model))
    except (OSError, ValueError) as error:
        raise _not_found(model, error) from error
    return _make_config({key: value for key, value in found.items() if key not in PROVENANCE}, f"config of '{model}'")


def _make_config(config: Mapping[str, Any], what: str = "config") -> Any:
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
        found = need("transformers", "text").AutoConfig.for_model(kind, **options)
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


def _build(model: str | None, config: Any) -> nn.Module:
    """The network of a config, with the weights of a model or with random ones."""
    library = need("transformers", "text").AutoModel
    config.use_cache = False  # of decoders, for texts that are written token by token
    if model is None:
        network = library.from_config(config, trust_remote_code=False)
    else:
        try:
            network = library.from_pretrained(
                _path(model), config=config, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
            )
        except OSError as error:
            raise _not_found(model, error) from error
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # reads the first position only; this encoder does not use it
    return network.train()


def _path(model: str) -> str:
    return os.path.expandvars(Path(model).expanduser())


def _not_found(model: str, error: Exception) -> FileNotFoundError:
    return FileNotFoundError(
        f"no text encoder '{model}': give a folder with config.json and model.safetensors, or the name of a model on "
        f"the Hugging Face hub that can be reached ({str(error).splitlines()[0]})."
    )
