"""Pretrained text encoders of Hugging Face, for texts cut by their own tokenizer."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.domain import TextDomain
from zoo.domain.text import FIRST, PAD, UNKNOWN
from zoo.networks.base import StateEncoder
from zoo.networks.hf_config import PROVENANCE, build_network, make_config, read_config
from zoo.networks.text_encoders import check_pooling, masked_mean

SHIFTED = ("camembert", "mpnet", "roberta", "xlm-roberta")  # their positions count from the number of padding + 1


class HuggingFaceText(StateEncoder):
    """A text encoder of the library `transformers`, pooled by the mean: token numbers (B, T) to (B, `channels`).

    The special tokens of the tokenizer, such as [CLS] and [SEP] of BERT, are added around each text here, so the
    network reads a few more than T positions.

    A checkpoint does not need the hub: it keeps `spec`, which has the network's config as plain data.

    Args:
        domain: of the texts, with the network's own tokenizer.
        model: a folder written by `save_pretrained`, with safetensors; the name of a text encoder of
            `zoo.utils.weight_packages`, such as "all-MiniLM-L6-v2"; or that of a model on the Hugging Face hub.
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
            found = make_config(config)
        elif model is not None:
            found = read_config(model)
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
        self.network: Any = build_network(model, found)
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
